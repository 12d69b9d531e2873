"""Generated from proto/fallow/clients/podresources: what the kubelet says of devices."""
