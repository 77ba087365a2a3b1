//! Digests for the agent's `template` stage, which replaces names by them.
//!
//! SHA-3 (FIPS 202) and SHA-2 (FIPS 180-4) with 256 bits, <https://doi.org/10.6028/NIST.FIPS.202>
//! and <https://doi.org/10.6028/NIST.FIPS.180-4>.

use super::Type::String as Text;
use super::{Function, plain, text};
use crate::template::value::Value;

/// Only in the agent.
pub(super) const PROMTAIL: &[Function] = &[
    plain("Hash", &[Text, Text], |_, args| {
        Ok(hex(sha3_256(&salted(args))))
    }),
    plain("Sha2Hash", &[Text, Text], |_, args| {
        Ok(hex(sha2_256(&salted(args))))
    }),
];

/// Salt and text, one behind the other.
fn salted(args: &[Value<'_>]) -> Vec<u8> {
    [text(args, 0), text(args, 1)].concat()
}

pub(super) fn hex<'a>(digest: [u8; 32]) -> Value<'a> {
    Value::string(
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

const SHA2_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

const SHA2_ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

pub(super) fn sha2_256(message: &[u8]) -> [u8; 32] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() < message.len() + 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits = (message.len() as u64).wrapping_mul(8).to_be_bytes();
    padded.truncate(padded.len() - bits.len());
    padded.extend_from_slice(&bits);
    let mut state = SHA2_START;
    for block in padded.as_chunks::<64>().0 {
        sha2_block(&mut state, block);
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn sha2_block(state: &mut [u32; 8], block: &[u8; 64]) {
    // The schedule needs only the last 16 words.
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for constant in SHA2_ROUNDS {
        let word = words[0];
        let (w1, w14) = (words[1], words[14]);
        let small0 = w1.rotate_right(7) ^ w1.rotate_right(18) ^ (w1 >> 3);
        let small1 = w14.rotate_right(17) ^ w14.rotate_right(19) ^ (w14 >> 10);
        let next = word
            .wrapping_add(small0)
            .wrapping_add(words[9])
            .wrapping_add(small1);
        words.rotate_left(1);
        words[15] = next;
        let big1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let first = h
            .wrapping_add(big1)
            .wrapping_add(choice)
            .wrapping_add(constant)
            .wrapping_add(word);
        let big0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let second = big0.wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(new);
    }
}

/// Bytes of the state that take the message.
const SHA3_RATE_BYTES: usize = 136;

const SHA3_ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

fn sha3_256(message: &[u8]) -> [u8; 32] {
    let mut padded = message.to_vec();
    padded.push(0x06);
    padded.resize(padded.len().next_multiple_of(SHA3_RATE_BYTES), 0);
    if let Some(last) = padded.last_mut() {
        *last |= 0x80;
    }
    let mut lanes = [0_u64; 25];
    for block in padded.as_chunks::<SHA3_RATE_BYTES>().0 {
        for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane ^= u64::from_le_bytes(*bytes);
        }
        keccak(&mut lanes);
    }
    let mut digest = [0; 32];
    for (bytes, lane) in digest.chunks_exact_mut(8).zip(lanes) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    digest
}

/// The permutation of FIPS 202, section 3.3. Lane (x, y) is `lanes[x + 5 * y]`.
fn keccak(lanes: &mut [u64; 25]) {
    for constant in SHA3_ROUNDS {
        let column = |x: usize| (0..5).fold(0, |parity, y| parity ^ lanes[x % 5 + 5 * y]);
        let columns: [u64; 5] = std::array::from_fn(column);
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane ^= columns[(at + 4) % 5] ^ columns[(at + 1) % 5].rotate_left(1);
        }
        let mut moved = [0; 25];
        moved[0] = lanes[0];
        let (mut x, mut y) = (1, 0);
        for step in 0..24 {
            let (new_x, new_y) = (y, (2 * x + 3 * y) % 5);
            let turn = (step + 1) * (step + 2) / 2 % 64;
            moved[new_x + 5 * new_y] = lanes[x + 5 * y].rotate_left(turn);
            (x, y) = (new_x, new_y);
        }
        for (at, lane) in lanes.iter_mut().enumerate() {
            let row = at / 5 * 5;
            *lane = moved[at] ^ (!moved[row + (at + 1) % 5] & moved[row + (at + 2) % 5]);
        }
        lanes[0] ^= constant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(digest: [u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_of_the_standards() {
        for (message, sha2, sha3) in [
            (
                "".to_owned(),
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
            ),
            (
                "abc".to_owned(),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
            ),
            // Padding that just fits, or does not.
            (
                "a".repeat(56),
                "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a",
                "f6fe8de5c8f5014786f07e9f7b08130f920dd55e587d47021686b26cf2323deb",
            ),
            (
                "a".repeat(135),
                "dfa58dfd72f3c7080d0249a7758fd3636872f63fa24b18473ed36f031e248347",
                "8094bb53c44cfb1e67b7c30447f9a1c33696d2463ecc1d9c92538913392843c9",
            ),
            (
                "a".repeat(200),
                "c2a908d98f5df987ade41b5fce213067efbcc21ef2240212a41e54b5e7c28ae5",
                "cce34485baf2bf2aca99b94833892a4f52896d3d153f7b840cc4f9fe695f1387",
            ),
        ] {
            assert_eq!(shown(sha2_256(message.as_bytes())), sha2);
            assert_eq!(shown(sha3_256(message.as_bytes())), sha3);
        }
    }
}
