//! What `--config KEY=VALUE` tells. A key or value that is not understood keeps the node from becoming ready, and is named
//! there.

use vk_provider_sdk::{Error, Result, quantity};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many pods the node takes.
    pub pods: u64,
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl Settings {
    /// Reads what the host was told.
    pub fn parse(values: &[(String, String)]) -> Result<Self> {
        let mut own = Self { pods: 110, cpu: 16_000, memory: 64 << 30 };
        for (key, value) in values {
            let (field, amount) = match key.as_str() {
                "pods" => (&mut own.pods, value.parse().ok()),
                "cpu" => (&mut own.cpu, quantity::millicores(value)),
                "memory" => (&mut own.memory, quantity::whole(value)),
                other => return Err(Error::invalid(format!("there is no setting `{other}`: pods, cpu, memory"))),
            };
            *field = amount.ok_or_else(|| Error::invalid(format!("`{value}` is no value for the setting `{key}`")))?;
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<Settings> {
        Settings::parse(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_setting_is_read() {
        assert_eq!(parse("pods", "7").unwrap().pods, 7);
        assert_eq!(parse("cpu", "1500m").unwrap().cpu, 1500);
        assert_eq!(parse("memory", "4Gi").unwrap().memory, 4 << 30);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (key, value) in [("pod", "7"), ("pods", "many")] {
            let error = parse(key, value).unwrap_err();
            assert!(error.is("invalid") && error.message.contains(&format!("`{key}`")), "{error:?}");
        }
    }
}
