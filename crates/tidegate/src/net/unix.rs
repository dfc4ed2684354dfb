//! Sockets in the file system: for clients on this machine.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::listen::ListenError;
use super::server::Listen;

/// Who may connect: the owner and the group.
const MODE: u32 = 0o660;

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Listen for UnixSocket {
    type Accepted = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(socket, _)| socket)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens at a path that the setting named `setting` chose. A socket that nobody listens at any more, left by a process
/// that was killed, gives way. Must be called within a Tokio runtime.
///
/// # Errors
/// Somebody listens there, there is a file that is no socket, or the system says no.
pub fn bind_unix(path: &Path, setting: &'static str) -> Result<UnixSocket, ListenError> {
    let path = path.to_owned();
    open(&path)
        .map(|listener| UnixSocket { listener, path: path.clone() })
        .map_err(|source| ListenError::Unix { path, setting, source })
}

fn open(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => match StdStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            // It may be another user's, or of another kind: it is not known that nobody needs it.
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener as StdListener};

    use tidegate_testkit::TempDir;

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_at_gives_way() {
        let folder = TempDir::new("unix");
        let refused =
            |path: &Path| bind_unix(path, "--resp-unix").expect_err("something is there").to_string();
        let path = folder.join("heard");
        let heard = StdListener::bind(&path).unwrap();
        assert!(refused(&path).contains("another process listens there"));
        drop(heard);
        drop(bind_unix(&path, "--resp-unix").expect("left behind"));
        assert!(!path.exists(), "its file goes with it");

        let path = folder.join("datagrams");
        let _others = UnixDatagram::bind(&path).unwrap();
        refused(&path);
        assert!(path.exists());
        let path = folder.write("file", "x");
        assert!(refused(&path).contains("a file that is no socket"));
    }
}
