//! How much of an answer waits in the system for a client to take it.

use std::io;
use std::os::fd::AsRawFd;

use tokio::net::TcpStream;

/// Bytes that wait unsent. By itself the system lets megabytes wait and takes no more until a third of
/// them is gone: of a client that reads slowly and steadily, nothing is seen for minutes then.
const UNSENT_BYTES: libc::c_int = 128 << 10;

/// Has a write go on as soon as its client has taken a little.
pub(super) fn bound(stream: &TcpStream) -> io::Result<()> {
    let bytes = UNSENT_BYTES;
    #[allow(
        unsafe_code,
        reason = "an option of sockets that no library has a safe form of"
    )]
    // SAFETY: the descriptor is open, and the value lives as long as the call and is as long as said.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn little_waits_for_a_client_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let client = socket.connect(addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        bound(&stream).unwrap();
        stream.writable().await.unwrap();
        let piece = vec![0; 64 << 10];
        let mut taken = 0;
        while let Ok(bytes) = stream.try_write(&piece) {
            taken += bytes;
        }
        assert!(taken < 1 << 20, "{taken} bytes wait");
        drop(client);
    }
}
