//! Handles that a call does not have.

use super::{Sandbox, attempts};
use provider::Code;

#[tokio::test]
async fn what_is_refused_elsewhere_works_with_handles_of_its_own() {
    let sandbox = Sandbox::new().await;
    for attempt in [
        "reveal secret",
        "sign secret",
        "version secret",
        "drop-secret secret",
        "size blob",
        "read blob",
        "chunks blob",
        "read-stream stream",
        "drop-stream stream",
        "read-future future",
        "drop-future future",
        "drop-writer writer",
        "poll-set set",
        "drop-set set",
        "join stream",
        "join-into set",
        "drop-pollable pollable",
        "print stdout",
    ] {
        let told = sandbox.tells(&format!("handles {attempt}")).await;
        assert_eq!(told, format!("{attempt}: not refused"));
    }
}

// Numbers that were never given out: nothing, the first ones, many, and those where a signed number would end.
attempts! { "handles":
    the_value_of_secret_zero: "reveal 0" => "unknown handle index 0";
    the_value_of_a_secret_that_was_not_opened: "reveal 7" => "unknown handle index 7";
    the_value_of_a_secret_far_away: "reveal 1000000" => "unknown handle index 1000000";
    the_value_of_a_secret_at_half_of_all_numbers: "reveal 2147483648" => "unknown handle index 2147483648";
    the_value_of_the_last_secret: "reveal 4294967295" => "unknown handle index 4294967295";
    a_signature_by_a_secret_that_was_not_opened: "sign 7" => "unknown handle index 7";
    the_version_of_a_secret_that_was_not_opened: "version 7" => "unknown handle index 7";
    a_placeholder_for_a_secret_that_was_not_opened: "placeholder 7" => "unknown handle index 7";
    a_renewal_of_a_secret_that_was_not_opened: "refused 7" => "unknown handle index 7";
    dropping_secret_zero: "drop-secret 0" => "unknown handle index 0";
    dropping_a_secret_that_was_not_opened: "drop-secret 7" => "unknown handle index 7";
    the_size_of_no_file: "size 1000" => "unknown handle index 1000";
    the_bytes_of_no_file: "read 1000" => "unknown handle index 1000";
    the_stream_of_no_file: "chunks 1000" => "unknown handle index 1000";
    dropping_no_file: "drop-blob 4294967295" => "unknown handle index 4294967295";
    the_protocol_of_no_connection: "protocol 7" => "unknown handle index 7";
    bytes_for_no_connection: "unread 7" => "unknown handle index 7";
    dropping_no_connection: "drop-connection 7" => "unknown handle index 7";
    reading_stream_zero: "read-stream 0" => "unknown handle index 0";
    reading_no_stream: "read-stream 77" => "unknown handle index 77";
    writing_no_stream: "write-stream 77" => "unknown handle index 77";
    dropping_no_stream: "drop-stream 77" => "unknown handle index 77";
    dropping_no_writer: "drop-writer 4294967295" => "unknown handle index 4294967295";
    reading_no_future: "read-future 77" => "unknown handle index 77";
    dropping_no_future: "drop-future 77" => "unknown handle index 77";
    polling_no_set: "poll-set 77" => "unknown handle index 77";
    dropping_no_set: "drop-set 77" => "unknown handle index 77";
    joining_nothing: "join 77" => "unknown handle index 77";
    joining_into_nothing: "join-into 77" => "unknown handle index 77";
    dropping_no_task: "drop-subtask 77" => "unknown handle index 77";
    cancelling_no_task: "cancel-subtask 77" => "unknown handle index 77";
    polling_no_pollable: "drop-pollable 77" => "unknown handle index 77";
    printing_to_nothing: "print 77" => "unknown handle index 77";
}

// Handles of another kind.
attempts! { "handles":
    a_file_as_a_secret: "reveal blob" => "wrong type";
    a_file_as_a_key: "sign blob" => "wrong type";
    a_secret_as_a_file: "read secret" => "wrong type";
    a_secret_as_a_connection: "protocol secret" => "wrong type";
    a_file_as_a_connection: "unread blob" => "wrong type";
    a_stream_as_a_secret: "reveal stream" => "is not a resource";
    a_secret_as_a_stream: "read-stream secret" => "handle is not a stream";
    a_file_as_a_future: "read-future blob" => "handle is not a future";
    a_stream_as_a_future: "read-future stream" => "handle is not a future";
    a_future_as_a_stream: "read-stream future" => "handle is not a stream";
    a_stream_that_is_read_as_one_that_is_written: "write-stream stream" => "cannot have concurrent operations";
    a_stream_that_is_written_as_one_that_is_read: "read-stream writer" => "cannot have concurrent operations";
    dropping_a_secret_as_a_file: "drop-blob secret" => "wrong type";
    dropping_a_file_as_a_connection: "drop-connection blob" => "wrong type";
    dropping_a_secret_as_a_stream: "drop-stream secret" => "handle is not a stream";
    dropping_a_stream_as_a_secret: "drop-secret stream" => "is not a resource";
    dropping_a_stream_as_a_future: "drop-future stream" => "handle is not a future";
    a_set_as_a_secret: "reveal set" => "is not a resource";
    a_secret_as_a_set: "poll-set secret" => "handle is not an waitable-set";
    a_secret_as_a_task: "cancel-subtask secret" => "handle is not a subtask";
    a_stream_as_a_task: "drop-subtask stream" => "handle is not a subtask";
    a_secret_that_is_waited_for: "join secret" => "handle is not a waitable";
    a_stream_as_a_set: "join-into stream" => "handle is not an waitable-set";
    a_pollable_of_wasi_as_a_secret: "reveal pollable" => "wrong type";
    an_output_of_wasi_as_a_file: "read stdout" => "wrong type";
    a_secret_as_a_pollable_of_wasi: "drop-pollable secret" => "wrong type";
    a_file_as_an_output_of_wasi: "print blob" => "wrong type";
}

// Handles that were its own.
attempts! { "handles":
    the_value_of_a_secret_that_was_dropped: "reveal dropped-secret" => "unknown handle index";
    dropping_a_secret_twice: "drop-secret dropped-secret" => "unknown handle index";
    the_bytes_of_a_file_that_was_dropped: "read dropped-blob" => "unknown handle index";
    dropping_a_file_twice: "drop-blob dropped-blob" => "unknown handle index";
    reading_a_stream_that_was_dropped: "read-stream dropped-stream" => "unknown handle index";
    dropping_a_stream_twice: "drop-stream dropped-stream" => "unknown handle index";
    joining_a_stream_that_was_dropped: "join dropped-stream" => "handle is not a waitable";
    polling_a_set_that_was_dropped: "poll-set dropped-set" => "unknown handle index";
    dropping_a_set_twice: "drop-set dropped-set" => "unknown handle index";
}

/// Contract functions borrow handles for their own time alone, so that one which outlives a call is one of the call before.
#[tokio::test]
async fn a_secret_that_the_call_before_opened() {
    let sandbox = Sandbox::new().await;
    let number = sandbox.tells("handles tell secret").await;
    let error = sandbox.ends(&format!("handles reveal {number}")).await;
    // The number is another thing in this call, or nothing.
    let is_other =
        error.message.contains("wrong type") || error.message.contains(&format!("unknown handle index {number}"));
    assert!(is_other, "{error}");
}

#[tokio::test]
async fn a_secret_that_a_call_at_the_same_time_has_open() {
    let sandbox = Sandbox::new().await;
    let tell = sandbox.own.pods().create(super::asking("handles tell secret"));
    let (number, stolen) = tokio::join!(tell, sandbox.ends("handles reveal 3"));
    assert!(stolen.message.contains("handle index 3"), "{stolen}");
    number.unwrap();
}

/// As many handles as it gets: the call that hoards them ends.
async fn hoards(what: &str, code: Code, says: &str) {
    let error = Sandbox::limited("cpu=20s").await.ends(&format!("handles hoard {what}")).await;
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(says), "{error}");
}

const OF_THE_CALL: &str = "reached the most handles that a call may hold, 32768";
const OF_THE_HOST: &str = "resource table has no free keys";

#[tokio::test]
async fn more_streams_than_a_call_may_have() {
    hoards("streams", Code::Limit, OF_THE_CALL).await;
}

#[tokio::test]
async fn more_streams_of_its_own_making_than_a_call_may_have() {
    hoards("writers", Code::Limit, OF_THE_CALL).await;
}

#[tokio::test]
async fn more_sets_than_a_call_may_have() {
    hoards("sets", Code::Limit, OF_THE_CALL).await;
}

#[tokio::test]
async fn more_pollables_than_a_call_may_have() {
    hoards("pollables", Code::Internal, OF_THE_HOST).await;
}

#[tokio::test]
async fn more_outputs_than_a_call_may_have() {
    hoards("outputs", Code::Internal, OF_THE_HOST).await;
}

#[tokio::test]
async fn more_networks_than_a_call_may_have() {
    hoards("networks", Code::Internal, OF_THE_HOST).await;
}
