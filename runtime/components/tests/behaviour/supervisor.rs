//! A provider follows its source, refuses what it should, and takes back what does badly.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use components::source::{FileSource, Policy};
use components::{Bytes, Change, Settings, StartError, Supervisor, Tolerance};
use provider::Code;

use crate::lab::{Ground, Lab, Loading, engine, until, version};

/// What was told.
type Told = Arc<Mutex<Vec<Change>>>;

/// A provider that is kept up to date.
struct Kept {
    supervisor: Supervisor,
    lab: Lab,
    told: Told,
    path: PathBuf,
}

/// Puts a component in place as a careful build does.
fn put(path: &Path, bytes: &Bytes) {
    let new = path.with_extension("new");
    std::fs::write(&new, &bytes.bytes).unwrap();
    std::fs::rename(&new, path).unwrap();
}

async fn start(ground: &Ground, path: &Path, tolerance: Tolerance, told: &Told) -> Result<Supervisor, StartError> {
    let settings = Settings {
        engine: engine().clone(),
        compiler: None,
        cache: None,
        folder: ground.folder.path().join("versions"),
        tolerance,
    };
    let source = FileSource::new(path, Policy::default())?;
    let told = told.clone();
    let listener = Arc::new(move |change: &Change| told.lock().unwrap().push(change.clone()));
    Supervisor::start(settings, Arc::new(source), ground.limits.clone(), &ground.capabilities, listener).await
}

impl Kept {
    async fn new(loading: Loading, first: &Bytes, tolerance: Tolerance) -> Self {
        let ground = loading.prepare().await;
        let path = ground.folder.path().join("provider.wasm");
        put(&path, first);
        Self::again(ground, path, tolerance).await
    }

    async fn again(ground: Ground, path: PathBuf, tolerance: Tolerance) -> Self {
        let told = Told::default();
        let supervisor = start(&ground, &path, tolerance, &told).await.unwrap();
        let lab = ground.serve(supervisor.program());
        Self { supervisor, lab, told, path }
    }

    async fn plain() -> Self {
        Self::new(Loading::misbehaving(), &version(""), Tolerance::default()).await
    }

    /// Waits for the next change of this reason; those before it are forgotten.
    async fn hears(&self, reason: &str) -> Change {
        until(reason, async || {
            let mut told = self.told.lock().unwrap();
            let at = told.iter().position(|change| change.reason() == reason)?;
            told.drain(..=at).next_back()
        })
        .await
    }

    fn digest(&self) -> String {
        self.supervisor.program().digest().to_string()
    }

    /// Asks for pods until the version is taken back.
    async fn is_taken_back(&self) -> (Change, Duration) {
        let began = Instant::now();
        let seen = until("the way back", async || {
            let _ = self.lab.create("").await;
            self.told.lock().unwrap().iter().find(|change| matches!(change, Change::RolledBack { .. })).cloned()
        });
        (seen.await, began.elapsed())
    }
}

fn digest(bytes: &Bytes) -> String {
    components::Digest::of(&bytes.bytes).to_string()
}

#[tokio::test]
async fn a_new_file_serves_at_once() {
    let kept = Kept::plain().await;
    assert!(matches!(kept.hears("ProviderLoaded").await, Change::Loaded { .. }));
    let next = version("n=1");
    put(&kept.path, &next);
    let said = kept.hears("ProviderSwapped").await.to_string();
    assert_eq!(kept.digest(), digest(&next));
    assert!(said.contains(&kept.supervisor.program().digest().short()), "{said}");
    kept.lab.works().await;
    let status = kept.supervisor.status();
    assert_eq!(status.good, Some(digest(&version(""))));
    assert!(status.new_until.is_some() && status.source.answered.is_some() && status.refused.is_none());
}

#[tokio::test]
async fn what_asks_for_more_than_is_granted_is_refused_and_the_grant_is_named() {
    let kept = Kept::plain().await;
    let wants = wat::parse_str(
        "(component (import \"vk:host/http@0.1.0\" (instance)) (instance $i)
         (export \"vk:provider/node@0.1.0\" (instance $i)) (export \"vk:provider/pods@0.1.0\" (instance $i)))",
    );
    let wants = Bytes { name: "wants".to_owned(), bytes: wants.unwrap() };
    put(&kept.path, &wants);
    let Change::Refused { refusal, .. } = kept.hears("ProviderRefused").await else { panic!("another change") };
    assert_eq!(refusal.asked, "`http`");
    assert!(refusal.missing.starts_with("--allow-http=URL"), "{refusal:?}");
    let status = kept.supervisor.status();
    assert_eq!(status.refused.unwrap().digest, digest(&wants));
    // A grant may come: it is not bad for ever.
    assert!(status.bad.is_empty());
    assert_eq!(kept.digest(), digest(&version("")));
    kept.lab.works().await;
    let json = serde_json::to_value(kept.supervisor.status()).unwrap();
    assert_eq!(json["refused"]["asked"], "`http`");
}

#[tokio::test]
async fn what_traps_or_leaks_or_asks_for_more_in_one_function_is_taken_back() {
    for (does, says) in [
        ("create=trap", "pods.create went wrong; the last: pods.create trapped"),
        ("create=allocate", "the limit memory=64Mi"),
        ("create=ask-for-more", "`key`"),
    ] {
        let kept = Kept::plain().await;
        let (good, bad) = (kept.digest(), version(does));
        put(&kept.path, &bad);
        kept.hears("ProviderSwapped").await;
        // Calls of other functions don't hide it.
        for _ in 0..200 {
            kept.lab.pods().list(None).await.unwrap();
        }
        let (change, took) = kept.is_taken_back().await;
        let Change::RolledBack { why, .. } = &change else { panic!("{change}") };
        assert!(why.contains(says), "{does}: {why}");
        assert!(took < Duration::from_secs(30), "{does}: {took:?}");
        assert_eq!(kept.digest(), good, "{does}");
        kept.lab.works().await;
        let status = kept.supervisor.status();
        assert_eq!(status.bad.first().map(|bad| bad.digest.clone()), Some(digest(&bad)), "{does}");
        assert_eq!(status.new_until, None, "{does}");
    }
}

#[tokio::test]
async fn a_bad_version_is_not_tried_again_until_it_changes_not_even_after_a_restart() {
    let ground = Loading::misbehaving().prepare().await;
    let path = ground.folder.path().join("provider.wasm");
    let (good, bad) = (version(""), version("create=trap"));
    put(&path, &good);
    let capabilities = ground.capabilities.clone();
    let kept = Kept::again(ground, path.clone(), Tolerance::default()).await;
    put(&path, &bad);
    kept.hears("ProviderSwapped").await;
    kept.is_taken_back().await;
    put(&path, &bad);
    // The file is another, its digest is not.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(kept.digest(), digest(&good));
    drop(kept.supervisor);

    let folder = kept.lab.folder;
    let mut ground = Loading::misbehaving().prepare().await;
    (ground.folder, ground.capabilities) = (folder, capabilities);
    let kept = Kept::again(ground, path.clone(), Tolerance::default()).await;
    assert!(matches!(kept.hears("ProviderKnownBad").await, Change::Known { .. }));
    let Change::UsedLast { why, .. } = kept.hears("ProviderLastVersionUsed").await else { panic!("another change") };
    assert!(why.contains("pods.create trapped"), "{why}");
    assert_eq!(kept.digest(), digest(&good));
    let better = version("n=2");
    put(&path, &better);
    kept.hears("ProviderSwapped").await;
    assert_eq!(kept.digest(), digest(&better));
}

#[tokio::test]
async fn a_start_without_its_source_goes_on_with_what_served_last() {
    let kept = Kept::plain().await;
    put(&kept.path, &version("n=1"));
    kept.hears("ProviderSwapped").await;
    let Kept { supervisor, lab, path, .. } = kept;
    drop(supervisor);
    std::fs::remove_file(&path).unwrap();
    let mut ground = Loading::misbehaving().prepare().await;
    ground.folder = lab.folder;
    let kept = Kept::again(ground, path.clone(), Tolerance::default()).await;
    assert_eq!(kept.digest(), digest(&version("n=1")));
    let said = kept.hears("ProviderLastVersionUsed").await.to_string();
    assert!(said.contains("which served last, is used") && said.contains("there is no such file"), "{said}");
    assert!(kept.supervisor.status().source.error.is_some());
    put(&path, &version("n=2"));
    kept.hears("ProviderSourceRecovered").await;
    kept.hears("ProviderSwapped").await;
    assert_eq!(kept.digest(), digest(&version("n=2")));
    assert_eq!(kept.supervisor.status().source.error, None);
}

#[tokio::test]
async fn a_start_with_nothing_says_what_is_wrong() {
    let ground = Loading::misbehaving().prepare().await;
    let path = ground.folder.path().join("provider.wasm");
    let told = Told::default();
    let missing = start(&ground, &path, Tolerance::default(), &told).await.err().unwrap().to_string();
    assert!(missing.contains("provider.wasm") && missing.contains("no such file"), "{missing}");
    std::fs::write(&path, "hello").unwrap();
    let wrong = start(&ground, &path, Tolerance::default(), &told).await.err().unwrap().to_string();
    assert!(wrong.contains("provider.wasm is no WebAssembly component"), "{wrong}");
}

#[tokio::test]
async fn rubbish_in_its_place_leaves_the_version_that_serves() {
    let kept = Kept::plain().await;
    let good = kept.digest();
    std::fs::write(&kept.path, "hello").unwrap();
    let said = kept.hears("ProviderRefused").await.to_string();
    assert!(said.contains("is no WebAssembly component"), "{said}");
    std::fs::remove_file(&kept.path).unwrap();
    let said = kept.hears("ProviderSourceFailing").await.to_string();
    assert!(said.contains("no such file"), "{said}");
    assert_eq!(kept.digest(), good);
    kept.lab.works().await;
}

#[tokio::test]
async fn a_version_that_did_well_is_what_later_ones_are_taken_back_to() {
    let tolerance = Tolerance { within: Duration::from_millis(500), ..Tolerance::default() };
    let kept = Kept::new(Loading::misbehaving(), &version(""), tolerance).await;
    kept.hears("ProviderProved").await;
    let next = version("n=1");
    put(&kept.path, &next);
    kept.hears("ProviderSwapped").await;
    kept.hears("ProviderProved").await;
    assert_eq!(kept.supervisor.status().good, Some(digest(&next)));
    put(&kept.path, &version("create=trap"));
    kept.hears("ProviderSwapped").await;
    kept.is_taken_back().await;
    assert_eq!(kept.digest(), digest(&next));
}

#[tokio::test]
async fn the_first_version_that_does_badly_goes_on_and_that_is_said() {
    let kept = Kept::new(Loading::misbehaving(), &version("create=trap"), Tolerance::default()).await;
    for _ in 0..10 {
        assert_eq!(kept.lab.create("").await.unwrap_err().code, Code::Internal);
    }
    let said = kept.hears("ProviderFailing").await.to_string();
    assert!(said.contains("there is no version to go back to"), "{said}");
    put(&kept.path, &version(""));
    kept.hears("ProviderSwapped").await;
    kept.lab.works().await;
    // It is not what anything is taken back to.
    assert_eq!(kept.supervisor.status().good, None);
}

#[tokio::test]
async fn what_was_refused_is_tried_again_when_that_is_asked_for() {
    let kept = Kept::new(Loading::misbehaving().limits("cpu=50ms"), &version(""), Tolerance::default()).await;
    put(&kept.path, &version("describe=spin"));
    kept.hears("ProviderRefused").await;
    assert_eq!(kept.supervisor.status().bad.len(), 1);
    kept.supervisor.reconsider();
    kept.hears("ProviderRefused").await;
}
