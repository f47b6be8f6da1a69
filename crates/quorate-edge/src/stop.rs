//! The wish to stop, as the system tells it to a program.

/// Completes when the program is asked to stop: by Ctrl-C, or by SIGTERM as service managers do.
pub async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be handled");
            // Without a handler the system ends the program itself.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
