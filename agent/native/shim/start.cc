// Where the kernel enters the program: the stack holds argc and argv, and is 16-byte aligned.
// shim_main() is a function like any other, so it must be called, with the alignment that the ABI
// promises it.

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n\t"
    "xorl %ebp, %ebp\n\t"
    "andq $-16, %rsp\n\t"
    "call shim_main\n\t"
    "hlt\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n\t"
    "mov x29, #0\n\t"
    "mov x30, #0\n\t"
    "bl shim_main\n\t"
    "brk #1\n");
#endif
