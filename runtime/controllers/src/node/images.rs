//! The images that a backend that runs containers has at hand, as the Node shows them: the scheduler prefers nodes that
//! have a pod's images.
//!
//! Asked for every 5 minutes, where the provider's description does not say. As the kubelet does, the Node shows the
//! [`MOST`] largest with [`NAMES`] names each.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use provider::{Code, Image, Kind, NodeImage, Provider};
use tokio::sync::watch;

const INTERVAL: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(60);
const MOST: usize = 50;
const NAMES: usize = 5;

/// Asks, for ever, or until the provider says that it can't tell.
pub(super) async fn ask(provider: Arc<dyn Provider>, told: watch::Sender<Vec<NodeImage>>) {
    loop {
        let Kind::Containers(containers) = provider.kind() else { return };
        match tokio::time::timeout(TIMEOUT, containers.list_images()).await {
            Ok(Ok(images)) => {
                let images = shown(images);
                told.send_if_modified(|known| {
                    let changed = *known != images;
                    *known = images;
                    changed
                });
            }
            Ok(Err(error)) if error.code == Code::Unsupported => return,
            Ok(Err(error)) => tracing::debug!(%error, "the images can't be listed"),
            Err(_) => tracing::debug!("the images were not listed within {} s", TIMEOUT.as_secs()),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn shown(images: Vec<Image>) -> Vec<NodeImage> {
    let mut all: Vec<NodeImage> = images
        .into_iter()
        .filter_map(|own| {
            let digest = Some(own.digest).filter(|digest| !digest.is_empty());
            let mut names: Vec<String> = digest.into_iter().chain(own.names).collect();
            names.truncate(NAMES);
            (!names.is_empty()).then_some(NodeImage { names, size: own.size })
        })
        .collect();
    all.sort_by(|own, other| (Reverse(own.size), &own.names).cmp(&(Reverse(other.size), &other.names)));
    all.truncate(MOST);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_images_are_shown_with_a_few_names_in_a_lasting_order() {
        let image = |name: String, size: u64| Image { names: vec![name], size, ..Image::default() };
        let mut images: Vec<Image> = (0..60).map(|n| image(format!("i{n:02}"), n / 2)).collect();
        images.push(Image { size: 1_000, ..Image::default() });
        images.push(Image {
            digest: "a@sha256:1".into(),
            names: (0..9).map(|n| format!("a:{n}")).collect(),
            size: 500,
            ..Image::default()
        });
        let all = shown(images);
        assert_eq!(all.len(), MOST);
        assert_eq!(all[0].names, ["a@sha256:1", "a:0", "a:1", "a:2", "a:3"]);
        // Of the same size by name; one without a name is not shown.
        assert_eq!((all[1].names[0].as_str(), all[2].names[0].as_str()), ("i58", "i59"));
    }
}
