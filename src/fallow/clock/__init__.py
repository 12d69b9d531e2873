"""How far clocks are apart: generated from proto/fallow/clock."""
