//! A component is compiled within bounds, by a process of its own.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use components::compile::{Bounds, Compiler};
use components::{CodeCache, Compiled, Engine, Limits, LoadError};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

fn compiler(bounds: Bounds) -> Compiler {
    Compiler::with(Path::new(env!("CARGO_BIN_EXE_vk-runtime")), bounds)
}

async fn compile(bounds: Bounds, wat: &str, cache: Option<&CodeCache>) -> Result<Compiled, LoadError> {
    let bytes = wat::parse_str(wat).unwrap();
    compiler(bounds).compile(engine(), "test.wasm", bytes.into(), &Limits::default(), cache).await
}

/// A component whose function has many blocks over many variables, which compilers find hard.
fn hard(blocks: usize) -> String {
    let mut wat = "(component (core module (func (export \"f\") (param i32) (result i32)\n".to_owned();
    for at in 0..200 {
        write!(wat, "(local $v{at} i32)").unwrap();
    }
    for at in 0..blocks {
        let (one, other) = (at % 200, (at * 7 + 3) % 200);
        write!(
            wat,
            "(block (br_if 0 (local.get 0)) (local.set $v{one} (i32.add (local.get $v{other}) (i32.const {at}))))"
        )
        .unwrap();
        if at % 50 == 0 {
            wat.push_str("(loop (br_if 0 (local.get 0)))");
        }
    }
    wat.push_str("(local.get $v0))))");
    wat
}

#[tokio::test]
async fn a_component_is_compiled_by_a_process_of_its_own_and_its_code_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CodeCache::open(folder.path()).unwrap();
    let wat = "(component (core module (func (export \"f\") (result i32) (i32.const 1))))";
    let first = compile(Bounds::default(), wat, Some(&cache)).await.unwrap();
    assert!(first.inspection().kind.is_none());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "one file of code");
    // A binary that isn't there compiles nothing: this comes from the cache.
    let none = Compiler::with(Path::new("/nonexistent"), Bounds::default());
    let bytes = wat::parse_str(wat).unwrap();
    let second =
        none.compile(engine(), "test.wasm", bytes.clone().into(), &Limits::default(), Some(&cache)).await.unwrap();
    assert_eq!(first.inspection(), second.inspection());
    let error = none.compile(engine(), "test.wasm", bytes.into(), &Limits::default(), None).await.err().unwrap();
    assert!(error.to_string().contains("the process that compiles: No such file"), "{error}");
}

#[tokio::test]
async fn what_is_no_component_is_refused_in_the_compilers_words() {
    let mut bytes = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
    bytes.truncate(bytes.len() - 3);
    let compiled =
        compiler(Bounds::default()).compile(engine(), "cut.wasm", bytes.into(), &Limits::default(), None).await;
    let error = compiled.err().unwrap();
    assert!(matches!(error, LoadError::NoComponent { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cut.wasm is no WebAssembly component: "), "{error}");
}

#[tokio::test]
async fn a_component_that_takes_too_much_memory_to_compile_is_refused() {
    let bounds = Bounds { memory: 64 << 20, ..Bounds::default() };
    let error = compile(bounds, &hard(100_000), None).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the component test.wasm can't be compiled: it took more than 64 MiB of memory",
        "{error}"
    );
}

#[tokio::test]
async fn a_component_that_takes_too_much_cpu_time_to_compile_is_refused() {
    let bounds = Bounds { cpu: Duration::from_secs(1), ..Bounds::default() };
    let error = compile(bounds, &hard(150_000), None).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the component test.wasm can't be compiled: it took more than 1 s of CPU time",
        "{error}"
    );
}

#[tokio::test]
async fn a_component_that_takes_too_long_to_compile_is_refused_and_its_process_ended() {
    let bounds = Bounds { wall: Duration::from_millis(300), ..Bounds::default() };
    let began = Instant::now();
    let error = compile(bounds, &hard(150_000), None).await.err().unwrap();
    assert_eq!(error.to_string(), "the component test.wasm can't be compiled: it took longer than 0.3 s");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_machine_code_than_allowed_is_refused() {
    let bounds = Bounds { code: 4 << 10, ..Bounds::default() };
    let error = compile(bounds, &hard(100), None).await.err().unwrap();
    assert!(error.to_string().ends_with("its machine code has more than 4096 bytes"), "{error}");
}
