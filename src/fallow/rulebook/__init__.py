"""Reference pages of rules, made from the rules themselves: ``python -m fallow.rulebook RULES FOLDER``."""
