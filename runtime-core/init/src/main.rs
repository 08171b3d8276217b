//! The program: finds the shared block and carries out its operations.
#![no_std]
#![no_main]
// The four functions below must not be compiled into calls of themselves.
#![no_builtins]
#![allow(unsafe_code, reason = "a program without a C library begins in assembly")]

// The stack begins at the top of a page, and what is usually done stays within it: each process that is forked copies that one page.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -4096", "call {start}", "ud2", start = sym start);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "and sp, x0, #-4096", "bl {start}", "brk #1", start = sym start);
#[cfg(target_arch = "riscv64")]
core::arch::global_asm!(".globl _start", "_start:", "mv a0, sp", "lui t0, 0xfffff", "and sp, sp, t0", "call {start}", "ebreak", start = sym start);

/// Reads the block's fd from the last argument, which is a decimal number.
extern "C" fn start(stack: *const usize) -> ! {
    let mut fd = 0i32;
    // SAFETY: the kernel puts argc at the top of the stack.
    let argc = unsafe { *stack };
    // SAFETY: and argv after it.
    let mut digits = unsafe { *stack.add(argc) } as *const u8;
    loop {
        // SAFETY: the argument ends in NUL, at which this loop ends.
        let digit = unsafe { *digits };
        if !digit.is_ascii_digit() {
            break;
        }
        fd = fd.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        // SAFETY: not yet at the NUL.
        digits = unsafe { digits.add(1) };
    }
    orlop_init::run(fd)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..n {
        // SAFETY: the caller vouches for both ranges.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: copying upwards does not reach what is still to be copied.
        return unsafe { memcpy(to, from, n) };
    }
    for at in (0..n).rev() {
        // SAFETY: the caller vouches for both ranges.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the range; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8, options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..n {
        // SAFETY: the caller vouches for the range.
        unsafe { *to.add(at) = byte as u8 };
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for at in 0..n {
        // SAFETY: the caller vouches for both ranges.
        let (x, y) = unsafe { (*a.add(at), *b.add(at)) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcmp(a, b, n) }
}
