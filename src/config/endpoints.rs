//! `gateway.http.endpoints`: the APIs of model servers that this gateway speaks, and what may be sent to them.
use super::reader::{Node, Reader};

#[derive(Debug, Clone)]
pub struct Endpoints {
    pub chat_completions: bool,
    pub responses: bool,
    /// Bytes of a body of `/v1/responses`.
    pub body_bytes_max: u64,
    pub images: MediaLimits,
    pub files: MediaLimits,
}

/// What may be sent, and what it may cost: `images` and `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLimits {
    /// It may be named by a URL.
    pub allow_url: bool,
    /// Lower case, without parameters.
    pub mimes: Vec<String>,
    pub bytes_max: usize,
    /// Of a file's text; what is behind is left out.
    pub chars_max: usize,
    /// Of a PDF, from the first one.
    pub pages_max: u32,
    pub redirects_max: u32,
    pub timeout_ms: u64,
}

/// Reference, all of them.
const BODY_BYTES_MAX: u64 = 20 * 1024 * 1024;
const IMAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
const IMAGE_MIMES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;
const FILE_MIMES: [&str; 6] =
    ["text/plain", "text/markdown", "text/html", "text/csv", "application/json", "application/pdf"];
const FILE_CHARS_MAX: usize = 200_000;
const PDF_PAGES_MAX: u32 = 4;
const REDIRECTS_MAX: u32 = 3;
const TIMEOUT_MS: u64 = 10_000;

/// More than anybody sends, and small enough to reckon with.
const MOST: u64 = 1 << 30;

impl Default for Endpoints {
    fn default() -> Endpoints {
        let limits = |mimes: &[&str], bytes_max| MediaLimits {
            allow_url: true,
            mimes: mimes.iter().map(|it| (*it).to_owned()).collect(),
            bytes_max,
            chars_max: FILE_CHARS_MAX,
            pages_max: PDF_PAGES_MAX,
            redirects_max: REDIRECTS_MAX,
            timeout_ms: TIMEOUT_MS,
        };
        Endpoints {
            chat_completions: false,
            responses: false,
            body_bytes_max: BODY_BYTES_MAX,
            images: limits(&IMAGE_MIMES, IMAGE_BYTES_MAX),
            files: limits(&FILE_MIMES, FILE_BYTES_MAX),
        }
    }
}

pub(super) fn endpoints(at: &Node, r: &mut Reader) -> Endpoints {
    let it = Endpoints::default();
    let of = at.at("responses");
    Endpoints {
        chat_completions: r.boolean(at.at("chatCompletions.enabled")).unwrap_or(false),
        responses: r.boolean(of.at("enabled")).unwrap_or(false),
        body_bytes_max: r.integer(of.at("maxBodyBytes"), 1, MOST).unwrap_or(it.body_bytes_max),
        images: limits(&of.at("images"), it.images, r),
        files: files(&of.at("files"), it.files, r),
    }
}

fn files(at: &Node, it: MediaLimits, r: &mut Reader) -> MediaLimits {
    let chars_max = r.integer(at.at("maxChars"), 1, MOST).map_or(it.chars_max, |it| it as usize);
    let pages_max = r.integer(at.at("pdf.maxPages"), 1, MOST).map_or(it.pages_max, |it| it as u32);
    MediaLimits { chars_max, pages_max, ..limits(at, it, r) }
}

fn limits(at: &Node, it: MediaLimits, r: &mut Reader) -> MediaLimits {
    let mimes: Vec<String> = r
        .strings(at.at("allowedMimes"))
        .iter()
        .filter_map(|it| it.split(';').next().map(|it| it.trim().to_lowercase()))
        .filter(|it| !it.is_empty())
        .collect();
    let count = |value: Option<u64>, otherwise: usize| value.map_or(otherwise, |it| it as usize);
    MediaLimits {
        allow_url: r.boolean(at.at("allowUrl")).unwrap_or(it.allow_url),
        mimes: if mimes.is_empty() { it.mimes } else { mimes },
        bytes_max: count(r.integer(at.at("maxBytes"), 1, MOST), it.bytes_max),
        chars_max: it.chars_max,
        pages_max: it.pages_max,
        redirects_max: count(r.integer(at.at("maxRedirects"), 0, 100), it.redirects_max as usize) as u32,
        timeout_ms: r.integer(at.at("timeoutMs"), 1, MOST).unwrap_or(it.timeout_ms),
    }
}
