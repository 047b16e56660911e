//! Kubernetes quantities, as far as CPU and memory need them.
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::observation::{Phase, Resources, Start};
use crate::pod::ContainerView;

type Amounts = BTreeMap<String, Quantity>;

/// The resources that a container has: those it asks for, with what the backend says is in force.
pub(super) fn in_force(
    container: &ContainerView<'_>,
    start: &Start,
    before: Option<&ContainerStatus>,
) -> Option<ResourceRequirements> {
    let mut resources = container.resources?.clone();
    if start.phase != Phase::Running {
        return Some(resources);
    }
    match start.resources.as_deref() {
        Some(told) => {
            let Resources { cpu_request, cpu_limit, memory_request, memory_limit } = *told;
            set(resources.requests.as_mut(), "cpu", cpu_request.map(cpu));
            set(resources.requests.as_mut(), "memory", memory_request.map(bytes));
            set(resources.limits.as_mut(), "cpu", cpu_limit.map(cpu));
            set(resources.limits.as_mut(), "memory", memory_limit.map(bytes));
        }
        // What was in force is, until the backend tells otherwise.
        None => {
            if let Some(before) = before.and_then(|before| before.resources.as_ref()) {
                keep(resources.requests.as_mut(), before.requests.as_ref());
                keep(resources.limits.as_mut(), before.limits.as_ref());
            }
        }
    }
    Some(resources)
}

fn set(amounts: Option<&mut Amounts>, name: &str, told: Option<Quantity>) {
    if let (Some(amounts), Some(told)) = (amounts, told)
        && amounts.get(name).and_then(nanos) != nanos(&told)
    {
        amounts.insert(name.into(), told);
    }
}

fn keep(amounts: Option<&mut Amounts>, before: Option<&Amounts>) {
    let (Some(amounts), Some(before)) = (amounts, before) else { return };
    for name in ["cpu", "memory"] {
        if let Some(before) = before.get(name) {
            amounts.insert(name.into(), before.clone());
        }
    }
}

fn cpu(thousandths: u64) -> Quantity {
    Quantity(if thousandths.is_multiple_of(1000) {
        (thousandths / 1000).to_string()
    } else {
        format!("{thousandths}m")
    })
}

fn bytes(count: u64) -> Quantity {
    let mut count = count;
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    while count > 0 && count.is_multiple_of(1024) {
        let Some(next) = suffixes.next() else { break };
        (count, suffix) = (count / 1024, next);
    }
    Quantity(format!("{count}{suffix}"))
}

/// The amount in thousandths of a millionth, rounded up; none if it is no quantity.
pub fn nanos(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let digits = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let parse = |digits: &str| match digits {
        "" => Some(0),
        _ if digits.contains(['+', '-']) => None,
        _ => digits.parse::<i128>().ok(),
    };
    let (numerator, denominator) = scale(suffix)?;
    // Eighteen decimals are more than Kubernetes keeps.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let unit = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value = parse(whole)?.checked_mul(unit)?.checked_add(parse(fraction)?)?;
    let (value, divisor) = (value.checked_mul(numerator)?, unit.checked_mul(denominator)?);
    let nanos = value.checked_mul(1_000_000_000)?;
    let rounded = nanos / divisor + i128::from(nanos % divisor != 0);
    Some(if negative { -rounded } else { rounded })
}

/// What a suffix multiplies by, and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs().min(30))?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_every_form_compare_by_their_amount() {
        for (one, other) in
            [("1", "1000m"), ("0.5", "500m"), ("1Gi", "1073741824"), ("1e3", "1k"), ("1500M", "1.5G"), ("+2", "2")]
        {
            assert_eq!(nanos(&Quantity(one.into())), nanos(&Quantity(other.into())), "{one} and {other}");
        }
        for broken in ["", "x", "1Q", "1.2.3", "--1", "1-1", "9999999999999999999999999999Ei"] {
            assert_eq!(nanos(&Quantity(broken.into())), None, "{broken}");
        }
    }

    #[test]
    fn amounts_are_written_as_the_api_server_writes_them() {
        assert_eq!([0, 1, 1000, 1500].map(cpu).map(|quantity| quantity.0), ["0", "1m", "1", "1500m"]);
        assert_eq!(
            [0, 1, 1024, 1536, 134_217_728, 3 << 30].map(bytes).map(|quantity| quantity.0),
            ["0", "1", "1Ki", "1536", "128Mi", "3Gi"]
        );
    }
}
