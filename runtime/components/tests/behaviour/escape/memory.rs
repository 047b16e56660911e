//! What a guest passes and returns is looked at before it is followed.

use provider::Code;

use super::{Sandbox, asking, attempts};

// Passed to a function of the host.
attempts! { "arguments":
    a_text_outside_of_the_memory: "text-outside" => "string pointer/length out of bounds of memory";
    a_text_past_the_end_of_the_memory: "text-past-the-end" => "string pointer/length out of bounds of memory";
    a_text_whose_end_wraps_around: "text-that-wraps" => "string pointer/length out of bounds of memory";
    a_text_of_all_the_memory_and_more: "text-of-all-the-memory-and-more" => "string pointer/length out of bounds of memory";
    a_text_of_half_the_addresses: "text-of-half-the-addresses" => "string pointer/length out of bounds of memory";
    a_text_of_other_bytes: "text-of-other-bytes" => "invalid utf-8";
    a_text_of_a_surrogate: "text-of-a-surrogate" => "invalid utf-8";
    a_text_longer_than_it_must_be: "text-longer-than-it-must-be" => "invalid utf-8";
    a_text_cut_in_a_character: "text-cut-in-a-character" => "utf-8";
    a_text_beyond_unicode: "text-beyond-unicode" => "invalid utf-8";
    a_list_outside_of_the_memory: "list-outside" => "list pointer/length out of bounds of memory";
    a_list_past_the_end_of_the_memory: "list-past-the-end" => "list pointer/length out of bounds of memory";
    a_list_that_is_misaligned: "list-misaligned" => "list pointer is not aligned";
    a_list_whose_size_wraps_around: "list-whose-size-wraps" => "list pointer/length out of bounds of memory";
    a_list_without_end: "list-without-end" => "list pointer/length out of bounds of memory";
    a_text_outside_in_a_list_inside: "text-in-a-list-outside" => "string pointer/length out of bounds of memory";
    bytes_outside_of_the_memory: "bytes-outside" => "list pointer/length out of bounds of memory";
    bytes_without_end: "bytes-without-end" => "list pointer/length out of bounds of memory";
    arguments_outside_of_the_memory: "arguments-outside" => "pointer out of bounds";
    arguments_that_are_misaligned: "arguments-misaligned" => "pointer not aligned";
    room_for_a_result_outside_of_the_memory: "result-outside" => "pointer out of bounds";
    room_for_a_result_past_the_end_of_the_memory: "result-past-the-end" => "pointer out of bounds";
    room_for_a_result_that_is_misaligned: "result-misaligned" => "pointer not aligned";
    room_for_bytes_outside_of_the_memory: "result-of-bytes-outside" => "pointer out of bounds";
    room_for_a_later_result_outside_of_the_memory: "result-of-a-waiting-call-outside" => "pointer out of bounds";
    an_enum_past_its_last_case: "enum 5" => "discriminant";
    an_enum_of_a_byte: "enum 255" => "discriminant";
    an_enum_of_many: "enum 4294967295" => "discriminant";
    an_enum_past_its_last_case_in_a_question: "enum-of-a-question 5" => "discriminant";
    a_variant_past_its_last_case: "variant 3" => "discriminant";
    a_variant_of_many: "variant 4294967295" => "discriminant";
    a_variant_past_its_last_case_in_memory: "variant-in-memory 3" => "discriminant";
    a_variant_of_a_byte_in_memory: "variant-in-memory 255" => "discriminant";
    an_option_that_is_neither: "option-in-memory 2" => "discriminant";
}

// Returned by a function of the guest.
attempts! { "results":
    an_answer_outside_of_the_memory: "outside" => "pointer out of bounds of memory";
    an_answer_past_the_end_of_the_memory: "past-the-end" => "pointer out of bounds of memory";
    an_answer_that_is_misaligned: "misaligned" => "pointer not aligned";
    an_answer_that_is_neither_success_nor_error: "discriminant 2" => "discriminant";
    an_answer_of_a_byte: "discriminant 255" => "discriminant";
    an_answer_with_a_text_outside: "text-outside" => "string pointer/length out of bounds of memory";
    an_answer_with_a_text_that_wraps_around: "text-that-wraps" => "string pointer/length out of bounds of memory";
    an_answer_with_a_text_without_end: "text-without-end" => "string pointer/length out of bounds of memory";
    an_answer_with_a_text_of_other_bytes: "text-of-other-bytes" => "invalid utf-8";
    an_answer_with_an_option_that_is_neither: "option" => "discriminant";
    an_answer_with_a_list_outside: "list-outside" => "list pointer/length out of bounds of memory";
    an_answer_with_a_list_that_is_misaligned: "list-misaligned" => "list pointer is not aligned";
    an_answer_with_a_list_whose_size_wraps_around: "list-whose-size-wraps" => "list pointer/length out of bounds of memory";
    an_answer_with_a_list_without_end: "list-without-end" => "list pointer/length out of bounds of memory";
    two_answers: "twice" => "called more than once for current task";
    the_answer_of_another_function: "as-another-function" => "invalid `task.return` signature";
    an_answer_that_it_was_cancelled: "cancelled" => "called by task which has not been cancelled";
}

// Memory that the guest gives the host for a result.
attempts! { "arguments":
    memory_outside_of_the_memory: "allocation 40001" => "realloc return: beyond end of memory";
    memory_at_the_last_address: "allocation 40002" => "realloc return: beyond end of memory";
    memory_past_the_end: "allocation 40003" => "realloc return: beyond end of memory";
    an_allocator_that_traps: "allocation 40004" => "unreachable";
    an_allocator_that_calls_the_host: "allocation 40006" => "cannot leave component instance";
    an_allocator_that_drops_a_handle: "allocation 40007" => "cannot leave component instance";
}

/// A pod with an annotation of so many bytes, for which the host needs memory before the guest's function runs.
async fn called_with(length: usize, limits: &str) -> provider::Error {
    let mut pod = asking("");
    pod.sandbox.annotations.push(("long".to_owned(), "x".repeat(length)));
    Sandbox::limited(limits).await.ends_with(pod).await
}

async fn begins_with(length: usize, says: &str) {
    let error = called_with(length, "").await;
    assert_eq!(error.code, Code::Internal, "{error}");
    assert!(error.message.contains(says), "{error}");
}

#[tokio::test]
async fn memory_outside_of_the_memory_for_what_it_is_called_with() {
    begins_with(40_001, "realloc return: beyond end of memory").await;
}

#[tokio::test]
async fn memory_at_the_last_address_for_what_it_is_called_with() {
    begins_with(40_002, "realloc return: beyond end of memory").await;
}

#[tokio::test]
async fn memory_past_the_end_for_what_it_is_called_with() {
    begins_with(40_003, "realloc return: beyond end of memory").await;
}

#[tokio::test]
async fn an_allocator_that_traps_before_the_call() {
    begins_with(40_004, "unreachable").await;
}

#[tokio::test]
async fn an_allocator_that_calls_the_host_before_the_call() {
    begins_with(40_006, "cannot leave component instance").await;
}

#[tokio::test]
async fn an_allocator_that_drops_a_handle_before_the_call() {
    begins_with(40_007, "cannot leave component instance").await;
}

#[tokio::test]
async fn misaligned_memory_for_a_list_that_it_is_called_with() {
    // 40,016 bytes of names and values.
    let mut pod = asking("");
    pod.sandbox.labels = (0..2_501).map(|n| (format!("l-{n}"), String::new())).collect();
    let error = Sandbox::new().await.ends_with(pod).await;
    assert!(error.message.contains("not aligned"), "{error}");
}

#[tokio::test]
async fn an_allocator_that_does_not_return() {
    for error in [
        called_with(40_005, "cpu=100ms").await,
        Sandbox::limited("cpu=100ms").await.ends("arguments allocation 40005").await,
    ] {
        assert_eq!(error.code, Code::Limit, "{error}");
        assert!(error.message.starts_with("pods.create reached the limit cpu=100ms"), "{error}");
    }
}

#[tokio::test]
async fn an_allocator_that_takes_all_memory() {
    for error in [
        called_with(40_008, "memory=8Mi").await,
        Sandbox::limited("memory=8Mi").await.ends("arguments allocation 40008").await,
    ] {
        assert_eq!(error.code, Code::Limit, "{error}");
        assert!(error.message.starts_with("pods.create reached the limit memory=8Mi"), "{error}");
    }
}
