"""The doors to the kernel and to vendors' libraries, programs and servers: no component reaches them any other way."""
