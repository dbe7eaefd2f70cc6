//! What front doors stand before: the published repository, in a folder or in a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::publish::Mirror as _;

use crate::serverless::Bucket;

/// A published repository.
#[derive(Clone)]
pub enum Site {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Arc<Bucket>),
}

impl Site {
    /// The file at `path`; `None` if there is none.
    pub async fn get(&self, path: &str) -> Option<Vec<u8>> {
        match self {
            Self::Folder(folder) => tokio::fs::read(folder.join(path)).await.ok(),
            Self::Bucket(bucket) => {
                let found = bucket.mirror().get(path).await;
                found
                    .expect("the bucket answers")
                    .map(|found| found.bytes.into())
            }
        }
    }

    /// A copy of the whole as it is now, in the folder `to`.
    pub async fn copy(&self, to: &Path) {
        match self {
            Self::Folder(folder) => copy(folder, to),
            Self::Bucket(bucket) => {
                for path in bucket.paths().await {
                    // A file that went away meanwhile is in no copy.
                    let Some(bytes) = self.get(&path).await else {
                        continue;
                    };
                    let target = to.join(&path);
                    let folder = target.parent().expect("it is below another");
                    std::fs::create_dir_all(folder).expect("the folder is ours");
                    std::fs::write(target, bytes).expect("the folder is ours");
                }
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is ours");
    for entry in std::fs::read_dir(from).expect("it is a folder") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}
