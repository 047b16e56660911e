//! The threads that guests of one provider run on, apart from the host's own.
//!
//! A call begins on the light threads. One that has burned some CPU time ([`Meter::is_heavy`]) moves to the heavy ones, which
//! run at the lowest priority: a guest that spins takes only what nobody else wants, and the light threads are free for the
//! next call. Leases, controllers and the kubelet API never wait for either.
//!
//! Default: as many of each as there are cores, at most [`MOST`]. Cost: idle threads sleep.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::cpu::Meter;

const MOST: usize = 4;

/// Niceness of the heavy threads.
const LOWEST_PRIORITY: i32 = 19;

/// How long a heavy thread runs before another may. The kernel's own slice is some milliseconds, and a low priority does
/// not shorten it: each call beside a guest that spins would wait so long.
const SLICE: Duration = Duration::from_micros(100);

/// Gives this thread the lowest priority, and the shortest slice where the kernel has them (Linux 6.12).
fn step_back() -> bool {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: LOWEST_PRIORITY,
        sched_priority: 0,
        sched_runtime: SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no library has this system call")]
    // SAFETY: the kernel reads as many bytes as the record says that it has, and changes this thread alone.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    result == 0
}

type Boxed<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// The threads of one provider.
pub(crate) struct Threads {
    light: Pool,
    heavy: Pool,
}

impl Threads {
    pub(crate) fn start(provider: &str) -> std::io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(MOST);
        // The kernel keeps 15 characters of a thread's name.
        let short: String = provider.chars().take(9).collect();
        let light = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(format!("guest-{short}"))
            .enable_all()
            .build()?;
        let heavy = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(format!("heavy-{short}"))
            .on_thread_start(|| {
                if !step_back() {
                    // Where the system refuses, the heavy threads are as important as the others, and no more is lost.
                    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST_PRIORITY);
                }
            })
            .enable_all()
            .build()?;
        Ok(Self { light: light.into(), heavy: heavy.into() })
    }

    /// Runs a call; aborting the task ends it, wherever it is.
    pub(crate) fn spawn<R: Send + 'static>(
        &self,
        meter: Arc<Meter>,
        call: impl Future<Output = R> + Send + 'static,
    ) -> JoinHandle<R> {
        let boxed: Boxed<R> = Box::pin(call);
        self.light.handle.spawn(drive(boxed, meter, self.heavy.handle.clone()))
    }
}

/// A runtime, and how to reach it.
struct Pool {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl From<Runtime> for Pool {
    fn from(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), runtime: Some(runtime) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A runtime must not be dropped on a thread that others wait for; its last calls end by themselves.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn drive<R: Send + 'static>(mut call: Boxed<R>, meter: Arc<Meter>, heavy: Handle) -> R {
    let light = std::future::poll_fn(|cx| match meter.poll(call.as_mut(), cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if meter.is_heavy() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    if let Some(done) = light.await {
        return done;
    }
    let moved = heavy.spawn(async move { std::future::poll_fn(|cx| meter.poll(call.as_mut(), cx)).await });
    match AbortOnDropHandle::new(moved).await {
        Ok(done) => done,
        // The heavy threads end only with the provider, and with it whoever would read this.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
