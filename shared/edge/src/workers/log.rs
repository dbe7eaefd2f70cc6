//! The log of a Worker: lines of JSON on its console, as on Lambda's standard output.

use std::io::{self, Write};
use std::sync::Once;

use tracing_subscriber::fmt::MakeWriter;

/// Sends what is traced to the console, from the first call on.
pub(super) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            // The console stamps its lines; the system's clock that this would ask is not there.
            .without_time()
            .with_writer(Console)
            .init();
    });
}

struct Console;

impl<'a> MakeWriter<'a> for Console {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// What one event writes, told to the console when it is whole.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        worker::console_log!("{}", String::from_utf8_lossy(&self.0).trim_end());
    }
}
