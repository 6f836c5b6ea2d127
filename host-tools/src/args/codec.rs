//! How pages are compressed, and what that may take.

use crate::args::size::size;
use crate::args::threads::Threads;
use crate::rewrite::codec::Compress;
use crate::rewrite::plan::DEFAULT;
use crate::rewrite::refilter::Work;

/// Threads and memory.
#[derive(clap::Args)]
pub struct Effort {
    #[command(flatten)]
    threads: Threads,
    /// Most memory to use: bytes, or with K, M, G, T, P or E that many KiB, MiB and so on; 256M if
    /// not given.
    /// With little, threads are fewer
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
}

impl Effort {
    /// What a run may take, and what it makes: with the codec of the input, if that is to stay. With `recompress` no
    /// page stays as it is.
    pub fn work(
        &self,
        codec: &Codec,
        input: Option<page_codec::Codec>,
        recompress: bool,
        page_checksums: bool,
    ) -> Work {
        let memory = self.memory_limit.unwrap_or(DEFAULT);
        let keep = !recompress && codec.zstd_level().is_none();
        let (compress, threads) = (codec.or_that_of(input), self.threads.count());
        let (time, exclude_guests) = (None, false);
        Work { compress, keep, page_checksums, threads, memory, time, exclude_guests }
    }
}

/// How pages are compressed.
#[derive(clap::Args)]
#[group(id = "codec", multiple = false)]
pub struct Codec {
    /// Compress pages with zlib
    #[arg(short = 'c', long)]
    zlib: bool,
    /// Compress pages with LZO
    #[arg(short = 'l', long)]
    lzo: bool,
    /// Compress pages with Snappy
    #[arg(short = 'p', long)]
    snappy: bool,
    /// Compress pages with zstd, at a level from 1 to 19 (-z19, --zstd=19); the default, at level 1, where
    /// pages are not compressed yet
    #[arg(short = 'z', long, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
        value_parser = clap::value_parser!(i32).range(1..=19))]
    zstd: Option<Option<i32>>,
    /// Do not compress pages
    #[arg(long)]
    raw: bool,
}

impl Codec {
    /// The one of the command line.
    pub fn compress(&self) -> Compress {
        if self.zlib {
            Compress::Zlib
        } else if self.lzo {
            Compress::Lzo
        } else if self.snappy {
            Compress::Snappy
        } else if self.raw {
            Compress::Raw
        } else {
            Compress::Zstd(self.zstd_level().unwrap_or(1))
        }
    }

    /// That of the input, which is `None` where the command line has one; of codecs that are not written, ours.
    fn or_that_of(&self, input: Option<page_codec::Codec>) -> Compress {
        match input {
            Some(page_codec::Codec::Zlib) => Compress::Zlib,
            Some(page_codec::Codec::Lzo) => Compress::Lzo,
            Some(page_codec::Codec::Snappy) => Compress::Snappy,
            _ => self.compress(),
        }
    }

    fn zstd_level(&self) -> Option<i32> {
        self.zstd.flatten()
    }

    /// Whether pages are to be compressed with one of them.
    pub fn asked(&self) -> bool {
        self.zlib || self.lzo || self.snappy || self.zstd.is_some()
    }

    /// Whether the command line has any of these options, `--raw` included.
    pub fn is_given(&self) -> bool {
        self.asked() || self.raw
    }
}
