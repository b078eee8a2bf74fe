//! The masks of a client's frames (RFC 6455, section 5.3).

use std::array;

/// The mask of one frame.
pub(super) type Mask = [u8; 4];

/// The number of bytes that are masked together, which a compiler turns into a few instructions.
const WIDE: usize = 32;

/// Masks a part of a frame's payload, which begins at `offset` of the payload.
pub(super) fn mask(part: &mut [u8], mask: Mask, offset: usize) {
    let wide: [u8; WIDE] = array::from_fn(|index| mask[(offset + index) % mask.len()]);
    let mut chunks = part.chunks_exact_mut(WIDE);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(wide).for_each(|(byte, key)| *byte ^= key);
    }
    chunks.into_remainder().iter_mut().zip(wide).for_each(|(byte, key)| *byte ^= key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_masked_like_the_whole() {
        let payload: Vec<u8> = (0..=255).collect();
        let key = [1, 20, 77, 255];
        let whole: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for split in [0, 1, 2, 3, 4, 31, 32, 33, 100, 255, 256] {
            let mut masked = payload.clone();
            let (first, second) = masked.split_at_mut(split);
            mask(first, key, 0);
            mask(second, key, split);
            assert_eq!(masked, whole, "{split}");
        }
    }
}
