//! Requests that are answered before they have come whole, as one that is too large is: what else comes of them is read
//! and thrown away. Whoever still sends would otherwise find the connection broken off, and the answer with it.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Has the rest of a request read when nobody else does.
pub async fn read_on(request: Request) -> Request {
    request.map(|body| Body::new(ReadOn(body)))
}

struct ReadOn(Body);

impl HttpBody for ReadOn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        if self.0.is_end_stream() {
            return;
        }
        let body = std::mem::take(&mut self.0);
        // A program that stops has no place for it any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // What takes longer is broken off after all.
            runtime.spawn(tokio::time::timeout(PATIENCE, rest(body)));
        }
    }
}

async fn rest(mut body: Body) {
    let mut left = LARGEST_REST;
    while let Some(Ok(frame)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

const LARGEST_REST: usize = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// As many kilobytes as are left, each of which is counted as it is read.
    struct Sender(usize, Arc<AtomicUsize>);

    impl HttpBody for Sender {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
            self.0 = left;
            self.1.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'a'; 1024])))))
        }
    }

    #[tokio::test]
    async fn what_is_not_wanted_is_read_up_to_a_limit() {
        for (sent, read) in [(0, 0), (5_000, 5_000), (1_000_000, LARGEST_REST / 1024 + 1)] {
            let count = Arc::new(AtomicUsize::new(0));
            drop(read_on(Request::new(Body::new(Sender(sent, Arc::clone(&count))))).await);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(count.load(Ordering::Relaxed), read, "{sent}");
        }
    }
}
