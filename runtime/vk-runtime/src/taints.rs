//! The taints that the host puts on its node; the provider may add more.
//!
//! Those of `--taint`; without it one, as Virtual Kubelet has it: `virtual-kubelet.io/provider=PROVIDER:NoSchedule`, of
//! which the environment may say each part ([`KEY`], [`VALUE`], [`EFFECT`]). What is on the command line counts more.

use anyhow::{Result, bail};
use provider::Taint;

use crate::arguments::RunArguments;

/// Environment variables, Virtual Kubelet's.
const KEY: &str = "VKUBELET_TAINT_KEY";
const VALUE: &str = "VKUBELET_TAINT_VALUE";
const EFFECT: &str = "VKUBELET_TAINT_EFFECT";

const DEFAULT_KEY: &str = "virtual-kubelet.io/provider";
const DEFAULT_EFFECT: &str = "NoSchedule";

/// A value of `--taint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// `KEY[=VALUE]:EFFECT`.
    Whole(Taint),
    /// `KEY`: value and effect are the default ones.
    Key(String),
}

/// Reads a value of `--taint`.
pub fn parse(text: &str) -> Result<Given, String> {
    let Some((pair, effect)) = text.rsplit_once(':') else {
        if text.is_empty() || text.contains('=') {
            return Err("it is written KEY[=VALUE]:EFFECT".to_owned());
        }
        return Ok(Given::Key(text.to_owned()));
    };
    if !is_effect(effect) {
        return Err(format!("the effect `{effect}` is none of NoSchedule, PreferNoSchedule, NoExecute"));
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() {
        return Err("the key is missing".to_owned());
    }
    Ok(Given::Whole(Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }))
}

/// Reads a taint that leaves nothing open.
pub fn whole(text: &str) -> Result<Taint, String> {
    match parse(text)? {
        Given::Whole(taint) => Ok(taint),
        Given::Key(_) => Err(format!("`{text}` has no effect: it is written KEY[=VALUE]:EFFECT")),
    }
}

/// A taint as it is written.
pub fn text(own: &Taint) -> String {
    let Taint { key, value, effect } = own;
    if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") }
}

/// That of a node with this provider, where nothing is said.
pub fn default(provider: &str) -> Taint {
    Taint { key: DEFAULT_KEY.to_owned(), value: provider.to_owned(), effect: DEFAULT_EFFECT.to_owned() }
}

/// The taints of a node with this provider, as command line and environment say.
pub fn of_command_line(
    arguments: &RunArguments,
    provider: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Taint>> {
    if arguments.disable_taint {
        return Ok(Vec::new());
    }
    let or = |variable: &str, default: &str| environment(variable).unwrap_or_else(|| default.to_owned());
    let made = |key: String| -> Result<Taint> {
        let effect = or(EFFECT, DEFAULT_EFFECT);
        if !is_effect(&effect) {
            bail!("the environment's {EFFECT} is `{effect}`, none of NoSchedule, PreferNoSchedule, NoExecute");
        }
        Ok(Taint { key, value: or(VALUE, provider), effect })
    };
    if arguments.taint.is_empty() {
        let key = or(KEY, DEFAULT_KEY);
        if key.is_empty() {
            bail!("the environment's {KEY} is empty");
        }
        return Ok(vec![made(key)?]);
    }
    let taint = |given: &Given| match given {
        Given::Whole(taint) => Ok(taint.clone()),
        Given::Key(key) => made(key.clone()),
    };
    arguments.taint.iter().map(taint).collect()
}

fn is_effect(text: &str) -> bool {
    matches!(text, "NoSchedule" | "PreferNoSchedule" | "NoExecute")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    }

    /// With these arguments and variables, of a node with the provider `mock`.
    fn taints(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Vec<Taint>> {
        let own = Arguments::try_parse_from([&["vk-runtime", "--component", "x"], arguments].concat()).unwrap().run;
        let variable =
            |name: &str| environment.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_string());
        of_command_line(&own, "mock", variable)
    }

    #[test]
    fn a_taint_is_written_as_for_kubectl_or_is_a_key() {
        let whole = |key, value, effect| Ok(Given::Whole(taint(key, value, effect)));
        assert_eq!(parse("hyper.sh/container:NoSchedule"), whole("hyper.sh/container", "", "NoSchedule"));
        assert_eq!(parse("a=b:NoExecute"), whole("a", "b", "NoExecute"));
        assert_eq!(parse("azure.com/aci"), Ok(Given::Key("azure.com/aci".to_owned())));
        assert!(parse("a:Never").unwrap_err().contains("`Never`"));
        for wrong in ["", "a=b", "=b:NoSchedule", ":NoSchedule"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_a_word_the_node_is_tainted_with_its_provider() {
        assert_eq!(taints(&[], &[]).unwrap(), [taint("virtual-kubelet.io/provider", "mock", "NoSchedule")]);
        assert_eq!(taints(&["--disable-taint"], &[(EFFECT, "nonsense")]).unwrap(), []);
    }

    #[test]
    fn the_environment_says_each_part_of_the_default() {
        let whole = [(KEY, "azure.com/aci"), (VALUE, "batch"), (EFFECT, "NoExecute")];
        assert_eq!(taints(&[], &whole).unwrap(), [taint("azure.com/aci", "batch", "NoExecute")]);
        assert_eq!(taints(&[], &[(KEY, "k"), (VALUE, "")]).unwrap(), [taint("k", "", "NoSchedule")]);
        for variable in [KEY, EFFECT] {
            assert!(taints(&[], &[(variable, "")]).unwrap_err().to_string().contains(variable));
        }
        let error = taints(&[], &[(EFFECT, "noexecute")]).unwrap_err().to_string();
        assert!(error.contains(EFFECT) && error.contains("`noexecute`"), "{error}");
    }

    #[test]
    fn the_command_line_counts_more_than_the_environment() {
        let environment = [(KEY, "other"), (VALUE, "batch"), (EFFECT, "NoExecute")];
        let own = taints(&["--taint", "a=b:NoSchedule", "--taint", "azure.com/aci"], &environment).unwrap();
        assert_eq!(own, [taint("a", "b", "NoSchedule"), taint("azure.com/aci", "batch", "NoExecute")]);
    }
}
