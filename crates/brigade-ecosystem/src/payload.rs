//! Bytes that can be checked: a different sequence for each sender and round.

/// `length` bytes that belong to `sender` and `round`; a byte lost, repeated or swapped with another sender shows.
#[must_use]
pub fn bytes(sender: usize, round: usize, length: usize) -> Vec<u8> {
    // xorshift64* never leaves a state other than zero, hence the `| 1`.
    let mut state = ((sender as u64) << 32 | round as u64) << 1 | 1;
    (0..length)
        .map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
        })
        .collect()
}
