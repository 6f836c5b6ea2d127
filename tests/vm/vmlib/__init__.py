"""The parts of `tests/vm/vm`: crash a real kernel under QEMU, check the dump made of it."""
