//! What the provider is told: `--provider-config FILE`, and over it `--config KEY=VALUE`.
//!
//! The file is JSON or YAML, at most 1 MiB. Its keys are the provider's settings, or names of nodes with the settings
//! of each, as Virtual Kubelet's mock provider has it: then only this node's count. A setting that has settings of its
//! own is told as `KEY.OWN`. A list is refused, for a setting is one text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Bytes that a file may have.
const LONGEST: u64 = 1 << 20;

/// What a file says to the provider of this node.
pub fn read(path: &Path, node: &str) -> Result<BTreeMap<String, String>> {
    let settings = text(path).and_then(|text| parse(&text, node));
    settings.with_context(|| format!("the file {} can't be used", path.display()))
}

/// Settings, each as one text.
pub fn flat(object: &Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    flatten("", object, &mut settings)?;
    Ok(settings)
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        bail!("it is longer than {LONGEST} bytes");
    }
    Ok(text)
}

fn parse(text: &str, node: &str) -> Result<BTreeMap<String, String>> {
    let Value::Object(whole) = serde_saphyr::from_str(text).context("it is neither JSON nor YAML")? else {
        bail!("it is no object: keys with values");
    };
    match whole.get(node) {
        Some(Value::Object(own)) => flat(own),
        _ => flat(&whole),
    }
}

fn flatten(before: &str, object: &Map<String, Value>, settings: &mut BTreeMap<String, String>) -> Result<()> {
    for (key, value) in object {
        let key = format!("{before}{key}");
        let value = match value {
            Value::Object(own) => {
                flatten(&format!("{key}."), own, settings)?;
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => bail!("`{key}` has no value"),
            Value::Array(_) => bail!("`{key}` is a list, and a setting is one text"),
        };
        settings.insert(key, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;
    use crate::configuration::plan::Plan;
    use crate::configuration::{Source, flags};

    fn pairs(settings: BTreeMap<String, String>) -> Vec<(String, String)> {
        settings.into_iter().collect()
    }

    fn of(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_file_of_virtual_kubelets_mock_is_read() {
        let file = r#"{
            "vkubelet-mock-0": { "cpu": "2", "memory": "32Gi", "pods": "128", "others": { "nvidia.com/gpu": "4" } },
            "vkubelet-mock-1": { "cpu": "4" }
        }"#;
        assert_eq!(
            pairs(parse(file, "vkubelet-mock-0").unwrap()),
            of(&[("cpu", "2"), ("memory", "32Gi"), ("others.nvidia.com/gpu", "4"), ("pods", "128")])
        );
    }

    #[test]
    fn settings_may_stand_in_the_file_alone() {
        let file = "cpu: 2\nendpoint: unix:///run/x.sock\nfast: true\nfail: 0.5\n";
        let expected = of(&[("cpu", "2"), ("endpoint", "unix:///run/x.sock"), ("fail", "0.5"), ("fast", "true")]);
        assert_eq!(pairs(parse(file, "web").unwrap()), expected);
        // A setting that is named as the node.
        assert_eq!(pairs(parse("web: 1", "web").unwrap()), of(&[("web", "1")]));
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (file, says) in [
            ("a: [1]", "`a`"),
            ("a: { b: [] }", "`a.b`"),
            ("a:", "`a`"),
            ("[]", "no object"),
            ("", "no object"),
            ("{", "neither JSON nor YAML"),
            ("Region = \"westus\"\nCPU = \"20\"", "no object"),
        ] {
            let error = parse(file, "web").unwrap_err().to_string();
            assert!(error.contains(says), "{file:?}: {error}");
        }
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mock.json");
        std::fs::write(&file, r#"{ "cpu": "2", "pods": "5" }"#).unwrap();
        let given = |file: &Path| {
            let file = file.display().to_string();
            let all = ["vk-runtime", "--component", "/dev/null", "--provider-config", &file, "--config", "cpu=8"];
            let run = Arguments::try_parse_from(all).unwrap().run;
            let plan = Plan::new(&flags::configuration(&run, |_| None).unwrap(), &Source::Flags);
            plan.map(|plan| plan.nodes.into_values().next().unwrap().settings).map_err(|problems| problems.to_string())
        };
        assert_eq!(pairs(given(&file).unwrap()), of(&[("cpu", "8"), ("pods", "5")]));
        let error = given(&folder.path().join("none.json")).unwrap_err();
        assert!(error.contains("none.json") && error.contains("--provider-config"), "{error}");
        std::fs::write(&file, vec![b' '; LONGEST as usize + 1]).unwrap();
        assert!(given(&file).unwrap_err().contains("longer"));
    }
}
