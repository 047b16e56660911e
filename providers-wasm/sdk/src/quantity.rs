//! Amounts as Kubernetes writes them, for values of the configuration: `500m`, `4`, `16Gi`, `1.5Ti`, `2e3`.

/// Thousandths of a core; parts of a thousandth are rounded up, as Kubernetes does.
pub fn millicores(text: &str) -> Option<u64> {
    scaled(text, 1000)
}

/// Bytes or pieces, rounded up.
pub fn whole(text: &str) -> Option<u64> {
    scaled(text, 1)
}

/// The amount times `factor`, rounded up.
fn scaled(text: &str, factor: u128) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    let (up, down) = match suffix {
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        exponent => (10_u128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?, 1),
    };
    let down = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)? * down;
    u64::try_from(digits.checked_mul(factor)?.checked_mul(up)?.div_ceil(down)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, millicores_, whole_) in [
            ("500m", 500, 1),
            ("4", 4000, 4),
            ("0.1", 100, 1),
            (".5", 500, 1),
            ("1.5Ki", 1_536_000, 1536),
            ("2e3", 2_000_000, 2000),
            ("1k", 1_000_000, 1000),
            ("100u", 0, 0),
        ] {
            let expected = (whole_ > 0).then_some((millicores_, whole_));
            assert_eq!(millicores(text).zip(whole(text)), expected, "{text}");
        }
        assert_eq!(whole("16Gi"), Some(16 << 30));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "m", ".", "-1", "1.2.3", "1 Gi", "Gi", "1e", "1e99", "99999999999999999999Pi", "é"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
