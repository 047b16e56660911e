//! Credentials for registries.

use super::*;

async fn credentials(secrets: Value, names: &[&str]) -> (Vec<Credential>, Vec<PodEvent>) {
    let world = world(json!({ "secrets": secrets }));
    let references: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let (record, parsed) = pod(json!({ "imagePullSecrets": references }));
    let resolved = world.resolver.credentials(&record.key, &parsed).await;
    (resolved.result.unwrap(), resolved.events)
}

fn secret(name: &str, kind: &str, key: &str, json: &Value) -> Value {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(json.to_string());
    let mut secret = config(name, json!({ key: encoded }));
    secret["type"] = kind.into();
    secret
}

#[tokio::test]
async fn secrets_of_each_format_are_put_together_the_closest_match_first() {
    let entry = |user: &str| json!({ "username": user, "password": "p" });
    let secrets = json!([
        secret(
            "new",
            "kubernetes.io/dockerconfigjson",
            ".dockerconfigjson",
            &json!({ "auths": { "r.example.com": entry("host"), "r.example.com/team": entry("team") } })
        ),
        secret("old", "kubernetes.io/dockercfg", ".dockercfg", &json!({ "*.example.com": entry("any") })),
    ]);
    let (all, events) = credentials(secrets, &["old", "new"]).await;
    assert_eq!(events, []);
    let users = |image: &str| fitting(&all, image).iter().map(|own| plain(&own.username)).collect::<Vec<_>>();
    assert_eq!(users("r.example.com/team/app:1"), ["team", "host", "any"]);
    assert_eq!(users("r.example.com/other"), ["host", "any"]);
    assert_eq!(users("busybox"), Vec::<String>::new());
    assert!(all.iter().all(|own| own.password.is_sensitive()));
}

#[tokio::test]
async fn a_secret_that_can_not_be_used_is_said_and_the_others_are() {
    let good = secret("good", "kubernetes.io/dockercfg", ".dockercfg", &json!({ "r.example.com": { "auth": "dTpw" } }));
    let broken = secret("broken", "kubernetes.io/dockercfg", ".dockercfg", &json!("canary"));
    let (all, events) = credentials(json!([good, broken]), &["none", "broken", "good"]).await;
    assert_eq!(all.len(), 1);
    let said: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    assert!(events.iter().all(|event| event.reason == "FailedToRetrieveImagePullSecret"), "{said:?}");
    assert!(said[0].contains("(none)") && said[1].contains("(broken)") && said.len() == 2, "{said:?}");
    assert!(!said[1].contains("canary"), "{said:?}");
}
