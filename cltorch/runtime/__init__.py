"""Everything that talks to OpenCL: devices, memory, programs, launches. The only package that imports pyopencl."""
