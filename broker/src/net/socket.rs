//! The sockets: tokio's. Under the simulator, on a machine of its, those of a simulated network.

#[cfg(not(feature = "sim"))]
pub use tokio::net::{TcpListener, TcpStream};

#[cfg(feature = "sim")]
pub use simulated::{TcpListener, TcpStream};

#[cfg(feature = "sim")]
mod simulated {
    use std::io;
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

    use crate::sim::{self, Accept, Stream};

    /// As tokio's.
    pub enum TcpListener {
        /// Of the system.
        Real(tokio::net::TcpListener),
        /// Of a machine.
        Simulated(Box<dyn Accept>),
    }

    impl TcpListener {
        /// As tokio's.
        ///
        /// # Errors
        /// As tokio's.
        pub async fn bind((host, port): (&str, u16)) -> io::Result<TcpListener> {
            match sim::with(|world| world.listen(host, port)) {
                Some(listens) => Ok(TcpListener::Simulated(listens?)),
                None => Ok(TcpListener::Real(
                    tokio::net::TcpListener::bind((host, port)).await?,
                )),
            }
        }

        /// As tokio's.
        ///
        /// # Errors
        /// As tokio's.
        pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            match self {
                TcpListener::Real(real) => {
                    let (stream, peer) = real.accept().await?;
                    Ok((TcpStream::Real(stream), peer))
                }
                TcpListener::Simulated(simulated) => {
                    let (stream, peer) = simulated.accept().await?;
                    Ok((TcpStream::Simulated(stream), peer))
                }
            }
        }

        /// As tokio's.
        ///
        /// # Errors
        /// As tokio's.
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            match self {
                TcpListener::Real(real) => real.local_addr(),
                TcpListener::Simulated(simulated) => Ok(simulated.local_addr()),
            }
        }
    }

    /// As tokio's.
    pub enum TcpStream {
        /// Of the system.
        Real(tokio::net::TcpStream),
        /// Of a machine.
        Simulated(Box<dyn Stream>),
    }

    impl std::fmt::Debug for TcpStream {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("TcpStream")
        }
    }

    impl TcpStream {
        /// As tokio's.
        ///
        /// # Errors
        /// As tokio's.
        pub async fn connect(address: &String) -> io::Result<TcpStream> {
            match sim::with(|world| world.connect(address.clone())) {
                Some(connecting) => Ok(TcpStream::Simulated(connecting.await?)),
                None => Ok(TcpStream::Real(
                    tokio::net::TcpStream::connect(address).await?,
                )),
            }
        }

        /// As tokio's.
        ///
        /// # Errors
        /// As tokio's.
        pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
            match self {
                TcpStream::Real(real) => real.set_nodelay(nodelay),
                TcpStream::Simulated(_) => Ok(()),
            }
        }

        /// As tokio's.
        #[must_use]
        pub fn into_split(self) -> (ReadHalf<TcpStream>, WriteHalf<TcpStream>) {
            tokio::io::split(self)
        }
    }

    impl AsyncRead for TcpStream {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                TcpStream::Real(real) => Pin::new(real).poll_read(cx, buf),
                TcpStream::Simulated(simulated) => Pin::new(simulated).poll_read(cx, buf),
            }
        }
    }

    impl AsyncWrite for TcpStream {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                TcpStream::Real(real) => Pin::new(real).poll_write(cx, bytes),
                TcpStream::Simulated(simulated) => Pin::new(simulated).poll_write(cx, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                TcpStream::Real(real) => Pin::new(real).poll_flush(cx),
                TcpStream::Simulated(simulated) => Pin::new(simulated).poll_flush(cx),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                TcpStream::Real(real) => Pin::new(real).poll_shutdown(cx),
                TcpStream::Simulated(simulated) => Pin::new(simulated).poll_shutdown(cx),
            }
        }
    }
}
