//! The masks of a client's frames (RFC 6455, section 5.3).

/// The mask of one frame.
pub(super) type Mask = [u8; 4];

/// Masks a part of a frame's payload, which begins at `offset` of the payload.
#[inline]
pub(super) fn mask(part: &mut [u8], mut mask: Mask, offset: usize) {
    mask.rotate_left(offset % size_of::<Mask>());
    // A compiler masks several words at once.
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let mut chunks = part.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
        }
    }
    chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, key)| *byte ^= key);
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
