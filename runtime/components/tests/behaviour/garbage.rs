//! What a guest says that it may not say costs its own call, and the error tells what it was.

use provider::Code;

use crate::lab::Loading;

#[tokio::test]
async fn each_piece_of_garbage_is_an_error_of_its_own() {
    let lab = Loading::misbehaving().load().await;
    for (misdeed, says) in [
        ("utf-8", "invalid utf-8"),
        ("pointer", "out of bounds"),
        ("discriminant", "discriminant"),
        ("level", "discriminant"),
        ("log-pointer", "out of bounds"),
        ("trap", "pods.create trapped: wasm `unreachable` instruction executed"),
        ("panic", "these are the words of a panic"),
    ] {
        let error = lab.fails(misdeed).await;
        assert_eq!(error.code, Code::Internal, "{misdeed}: {error}");
        assert!(error.message.contains(says) && error.message.contains("pods.create"), "{misdeed}: {error}");
        assert!(!error.message.contains('\n'), "{misdeed}: {error}");
        lab.works().await;
    }
}

#[tokio::test]
async fn an_error_of_the_guests_keeps_its_code() {
    let lab = Loading::misbehaving().load().await;
    let error = lab.fails("no-such-misdeed").await;
    assert_eq!((error.code, error.message.as_str()), (Code::Invalid, "`no-such-misdeed` is no misdeed"));
}
