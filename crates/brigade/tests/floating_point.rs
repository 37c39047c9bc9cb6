//! The floating-point control words belong to the thread: rounding mode (MXCSR) and x87 precision.
#![cfg(target_arch = "x86_64")]

mod common;

use std::arch::asm;

use common::{hop, migrating};

const ROUNDING_BITS: u32 = 0x6000;
const X87_PRECISION_BITS: u16 = 0x0300;
const DEFAULT_MXCSR: u32 = 0x1F80;
const DEFAULT_X87: u16 = 0x037F;

fn mxcsr() -> u32 {
    let mut word = 0_u32;
    // SAFETY: stmxcsr writes four bytes to the address given.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
    word
}

fn set_mxcsr(word: u32) {
    // SAFETY: ldmxcsr reads four bytes; the callers only change the rounding mode and set it back, and no floating
    // point arithmetic happens in between.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack)) };
}

fn x87_control() -> u16 {
    let mut word = 0_u16;
    // SAFETY: fnstcw writes two bytes to the address given.
    unsafe { asm!("fnstcw [{}]", in(reg) &raw mut word, options(nostack)) };
    word
}

fn set_x87_control(word: u16) {
    // SAFETY: fldcw reads two bytes; the callers only change the precision and set it back.
    unsafe { asm!("fldcw [{}]", in(reg) &raw const word, options(nostack)) };
}

/// Status bits are no part of the control word.
fn control(mxcsr: u32) -> u32 {
    mxcsr & !0x3F
}

#[test]
fn the_rounding_mode_stays_with_its_thread() {
    migrating(200, |index| {
        let own = DEFAULT_MXCSR | ((index as u32) << 13 & ROUNDING_BITS);
        assert_eq!(
            control(mxcsr()),
            DEFAULT_MXCSR,
            "a new thread saw another thread's rounding mode"
        );
        set_mxcsr(own);
        let mut seen = Vec::new();
        for _ in 0..20 {
            hop();
            seen.push(control(mxcsr()));
        }
        set_mxcsr(DEFAULT_MXCSR);
        assert!(
            seen.iter().all(|&word| word == own),
            "{own:#x} became {seen:x?}"
        );
    });
}

#[test]
fn the_x87_precision_stays_with_its_thread() {
    migrating(200, |index| {
        let precision = [0, 0x200, 0x300][index % 3];
        let own = DEFAULT_X87 & !X87_PRECISION_BITS | precision;
        assert_eq!(
            x87_control(),
            DEFAULT_X87,
            "a new thread saw another thread's precision"
        );
        set_x87_control(own);
        let mut seen = Vec::new();
        for _ in 0..20 {
            hop();
            seen.push(x87_control());
        }
        set_x87_control(DEFAULT_X87);
        assert!(
            seen.iter().all(|&word| word == own),
            "{own:#x} became {seen:x?}"
        );
    });
}

#[test]
fn values_in_vector_registers_survive_migration() {
    migrating(200, |index| {
        let mut numbers: [f64; 16] = std::array::from_fn(|lane| (index * 16 + lane) as f64);
        for round in 1..=20 {
            hop();
            for (lane, number) in numbers.iter_mut().enumerate() {
                *number += 1.0;
                assert_eq!(*number, (index * 16 + lane + round) as f64);
            }
        }
    });
}
