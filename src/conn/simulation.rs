//! A seeded simulation of [`Conn`]: random bytes, cuts, writes, answers and clocks; what must hold is asserted at every step.
use super::tests::{BODY_MAX, UPGRADE, frame};
use super::*;
use crate::base::testing::{Seed, each_seed};

/// What the driver of one connection knows about it.
struct Play {
    seed: Seed,
    conn: Conn,
    now: u64,
    input: Vec<u8>,
    written: Vec<u8>,
    /// Answers and refusals, in order: their status, whether the request was a HEAD, and what was streamed.
    answers: Vec<(u16, bool, Option<Vec<u8>>)>,
    asked: Option<bool>,
    /// The question is whether a body may come.
    asked_to_admit: bool,
    streaming: bool,
    opened: bool,
    authenticated: bool,
    closed: Option<CloseReason>,
    sent: u64,
    lost: bool,
    eof: bool,
}

fn piece(seed: &mut Seed) -> Vec<u8> {
    let http: [&[u8]; 14] = [
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"\r\n",
        b"GET /a HTTP/9.9\r\n\r\n",
        b"GET /a HTT",
        UPGRADE.as_bytes(),
        UPGRADE.as_bytes(),
    ];
    seed.pick(&http).to_vec()
}

fn ws_piece(seed: &mut Seed) -> Vec<u8> {
    let payload = vec![b'x'; [0, 3, 125, 126, 2000, 60_000][seed.below(6)]];
    match seed.below(16) {
        0..6 => frame(0x81, &payload),
        6 => frame(0x01, &payload),
        7 => frame(0x00, &payload),
        8 => frame(0x80, &payload),
        9 => frame(0x89, b"ping"),
        10 => frame(0x89, b"").repeat(50),
        11 => frame(0x8a, b""),
        12 => frame(0x82, b"\xff\x00"),
        13 => frame(0x88, b"\x03\xe8"),
        14 => frame(0xf1, &payload),
        _ => vec![seed.number() as u8; seed.below(9)],
    }
}

fn stream(seed: &mut Seed) -> Vec<u8> {
    let (mut out, mut upgraded) = (vec![], false);
    for _ in 0..1 + seed.below(8) {
        let part = if upgraded { ws_piece(seed) } else { piece(seed) };
        upgraded |= part == UPGRADE.as_bytes();
        out.extend(part);
    }
    if seed.one_in(4) && !out.is_empty() {
        let at = seed.below(out.len());
        out[at] = seed.number() as u8;
    }
    out
}

impl Play {
    fn new(mut seed: Seed) -> Play {
        let input = stream(&mut seed);
        Play {
            conn: Conn::new(0),
            now: 0,
            input,
            seed,
            written: vec![],
            answers: vec![],
            asked: None,
            asked_to_admit: false,
            streaming: false,
            opened: false,
            authenticated: false,
            closed: None,
            sent: 0,
            lost: false,
            eof: false,
        }
    }

    fn step(&mut self) {
        match self.seed.below(20) {
            0..8 => self.feed(),
            8..12 => self.write(),
            12..15 => self.answer(),
            15 | 16 => {
                self.now += self.seed.number() % [100, 5_000, 40_000][self.seed.below(3)];
                self.expire();
                let due = self.conn.deadline();
                assert!(due.is_none_or(|it| it > self.now), "a deadline that is due was dealt with");
            }
            17 => self.send(),
            18 if self.seed.one_in(4) => self.conn.close(1008, "reason ☃", self.now),
            18 if self.opened => {
                self.authenticated |= self.closed.is_none();
                self.conn.set_authenticated();
            }
            19 if self.seed.one_in(6) => {
                self.eof = true;
                self.conn.on_eof(self.now);
            }
            19 if self.seed.one_in(6) => {
                self.lost = true;
                self.conn.on_lost();
                assert!(self.conn.is_finished());
            }
            _ => {}
        }
        self.drain();
        self.check();
    }

    /// A peer that does not read what is left for it loses it.
    fn expire(&mut self) {
        let waited = !self.conn.out().is_empty();
        self.conn.on_deadline(self.now);
        self.lost |= waited && self.conn.is_finished();
    }

    fn feed(&mut self) {
        if !self.conn.wants_read() || self.input.is_empty() {
            return;
        }
        let most = *self.seed.pick(&[3, 300, 100_000]);
        let n = 1 + self.seed.below(self.input.len().min(most));
        let rest = self.input.split_off(n);
        let part = std::mem::replace(&mut self.input, rest);
        self.conn.on_bytes(&part, self.now);
    }

    fn write(&mut self) {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let n = self.conn.out().slices(&mut slices);
        let front: Vec<u8> = slices[..n].iter().flat_map(|it| it.to_vec()).collect();
        assert!(front.len() <= self.conn.out().len() && (n == 16 || front.len() == self.conn.out().len()));
        let n = if self.seed.one_in(2) { front.len() } else { self.seed.below(front.len() + 1) };
        self.written.extend(&front[..n]);
        self.conn.out_written(n);
    }

    fn answer(&mut self) {
        if self.streaming {
            return self.stream();
        }
        if self.asked_to_admit && !self.seed.one_in(4) {
            (self.asked, self.asked_to_admit) = (None, false);
            return self.conn.admit(BODY_MAX, self.now);
        }
        if let Some(head) = self.asked.take() {
            if !self.asked_to_admit && self.seed.one_in(3) {
                self.answers.push((200, head, Some(vec![])));
                self.streaming = !head;
                return self.conn.begin_stream(Answer::text(200, ""), self.now);
            }
            self.asked_to_admit = false;
            let answer = Answer::text(200, &"y".repeat(self.seed.below(3000)));
            let answer = if self.seed.one_in(8) { answer.closing() } else { answer };
            self.answers.push((200, head, None));
            self.conn.answer(answer, self.now);
        }
    }

    fn stream(&mut self) {
        if self.seed.one_in(4) {
            self.streaming = false;
            return self.conn.end_stream(self.now);
        }
        let piece = vec![b's'; self.seed.below(2000)];
        let (.., streamed) = self.answers.last_mut().expect("it was begun");
        streamed.as_mut().expect("it is a stream").extend(&piece);
        self.conn.stream(piece.into(), self.now);
    }

    fn send(&mut self) {
        if self.opened && self.closed.is_none() {
            self.conn.send(websocket::text_frame(&format!("n{}", self.sent)));
            self.sent += 1;
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            assert_eq!(self.closed, None, "nothing comes behind the end: {event:?}");
            match event {
                ConnEvent::Head(head) => {
                    assert!(!self.opened && self.asked.is_none() && !self.streaming, "one request at a time");
                    (self.asked, self.asked_to_admit) = (Some(head.method == "HEAD"), true);
                }
                ConnEvent::Request(request) => {
                    assert!(!self.opened && self.asked.is_none() && !self.streaming, "one request at a time");
                    self.asked = Some(request.head.method == "HEAD");
                }
                ConnEvent::Opened(_) => {
                    assert!(!self.opened && self.asked.is_none());
                    self.opened = true;
                }
                ConnEvent::Message(..) => assert!(self.opened),
                ConnEvent::Closed(reason) => {
                    if let CloseReason::Refused(status) = reason {
                        assert!(!self.opened);
                        self.answers.push((status, false, None));
                    }
                    self.closed = Some(reason);
                    (self.asked, self.asked_to_admit, self.streaming) = (None, false, false);
                }
            }
        }
    }

    fn check(&self) {
        let conn = &self.conn;
        let ended = self.closed.is_some();
        assert_eq!(conn.is_busy(), self.asked.is_some() || self.streaming);
        assert_eq!(conn.is_streaming(), self.streaming);
        assert_eq!(conn.is_authenticated(), self.authenticated && !ended);
        assert!(!conn.is_finished() || ended, "an end is said");
        assert!(!conn.is_finished() || (conn.out().is_empty() && conn.deadline().is_none()));
        let over = self.eof && conn.out().is_empty() && !conn.is_busy();
        assert!(!over || conn.is_finished(), "the peer has gone and has everything");
        // Nobody stays for ever: only a request at work and an accepted client have no deadline. Who has sent his last byte and waits for
        // an answer is asked now and then whether he is still there; a stream has one from its first piece, at which its client may
        // stop reading.
        let untimed = conn.is_finished() || conn.is_busy() || conn.is_authenticated();
        let timed = self.eof && conn.is_busy() || conn.is_streaming();
        assert!(timed || conn.deadline().is_none() == untimed, "closed: {:?}", self.closed);
        let may_wait = conn.is_busy() || (self.opened && !conn.out().is_empty()) || conn.is_finished();
        assert!(conn.wants_read() || may_wait, "nothing holds the reader back");
        assert!(!conn.wants_shutdown() || (ended && conn.out().is_empty()));
    }

    /// The peer falls silent: all deadlines pass, and that is the end of it.
    fn end(mut self) {
        for _ in 0..20 {
            self.answer();
            if self.conn.is_authenticated() {
                self.eof = true;
                self.conn.on_eof(self.now);
            }
            self.drain();
            // Up to the cut: the reader of the output stays until the end of it.
            while !self.conn.out().is_empty() {
                self.write();
            }
            if let Some(due) = self.conn.deadline() {
                self.now = self.now.max(due);
                self.expire();
            }
            self.drain();
            self.check();
            if self.conn.is_finished() {
                break;
            }
        }
        assert!(self.conn.is_finished() && self.closed.is_some(), "it ends");
        self.check_output();
    }

    /// What was written is whole: the answers in order, then frames, the numbered ones in order, a close last.
    fn check_output(&self) {
        let mut rest = &self.written[..];
        // A peer that is cut off may miss the end of what was meant for it.
        let mut answers = self.answers.iter();
        while rest.starts_with(b"HTTP/1.1 ") {
            let Some(end) = rest.windows(4).position(|it| it == b"\r\n\r\n") else { break };
            let head = String::from_utf8(rest[..end + 4].to_vec()).unwrap();
            rest = &rest[end + 4..];
            let status: u16 = head[9..12].parse().unwrap();
            if status == 101 {
                return self.check_frames(rest);
            }
            if matches!(status, 100 | 102) {
                continue;
            }
            let (want, is_head, streamed) = answers.next().expect("no answer without a request");
            assert_eq!(status, *want);
            if let Some(streamed) = streamed {
                rest = if *is_head { rest } else { check_stream(rest, streamed, head.contains("chunked")) };
                continue;
            }
            let length: usize =
                head.split("Content-Length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
            // A refused request may have been a HEAD as well: its answer is the last.
            let bare = *is_head || (rest.is_empty() && status != 200);
            rest = &rest[if bare { 0 } else { length.min(rest.len()) }..];
        }
        let cut = self.lost || self.closed == Some(CloseReason::TooSlow) || self.conn.is_finished();
        assert!(cut && (rest.is_empty() || b"HTTP/1.1 ".starts_with(&rest[..rest.len().min(9)])), "{rest:?}");
    }

    fn check_frames(&self, mut rest: &[u8]) {
        let mut next = 0;
        while let [head, length, tail @ ..] = rest {
            let (n, tail) = match (*length, tail) {
                (n @ ..=125, tail) => (usize::from(n), tail),
                (126, [a, b, tail @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), tail),
                _ => break,
            };
            if n > tail.len() {
                break;
            }
            let payload = &tail[..n];
            rest = &tail[n..];
            match head {
                0x81 => {
                    assert_eq!(payload, format!("n{next}").as_bytes());
                    next += 1;
                }
                0x88 => assert!(rest.is_empty(), "nothing behind a close"),
                0x8a => {}
                _ => panic!("frame {head:#x}"),
            }
        }
        assert!(next <= self.sent && rest.len() < 200, "{} bytes are no frame", rest.len());
        if !self.lost && rest.is_empty() && self.closed == Some(CloseReason::Done) {
            assert_eq!(next, self.sent, "everything sent before the close has left");
        }
    }
}

/// What was streamed came in order; what is behind it. A peer that is cut off, or hung up, has the beginning of it.
fn check_stream<'w>(mut rest: &'w [u8], streamed: &[u8], chunked: bool) -> &'w [u8] {
    if !chunked {
        assert!(streamed.starts_with(rest));
        return &[];
    }
    let mut got: Vec<u8> = vec![];
    while let Some(line) = rest.windows(2).position(|it| it == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let Some((chunk, behind)) = rest[line + 2..].split_at_checked(length + 2) else { break };
        got.extend(&chunk[..length]);
        rest = behind;
        if length == 0 {
            assert_eq!(got, streamed);
            return rest;
        }
    }
    assert!(streamed.starts_with(&got));
    &[]
}

#[test]
fn many_lives() {
    each_seed(4000, |seed| {
        let mut play = Play::new(seed);
        for _ in 0..30 + play.seed.below(100) {
            play.step();
        }
        play.end();
    });
}
