//! The one module with `unsafe`: system calls that std does not offer, each wrapped so that no caller can misuse it.
#![expect(unsafe_code, reason = "audited system calls; every block says why it is sound")]
use std::ffi::CString;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Files and folders made from now on are the owner's alone.
pub fn umask_private() {
    // SAFETY: umask takes an integer and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Two malloc arenas at most: measured, it keeps 4 workers' heap in one place (stack page, section 2).
pub fn limit_malloc_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes integers; called before any thread starts.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        // Blocks above this go back to the system when freed, so that one large frame leaves no trace.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

/// The number of the user that this process acts as.
pub fn uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Gives freed heap pages back to the system.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and is thread-safe.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Raises the soft descriptor limit to the hard one; answers the limit in force.
pub fn raise_fd_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to a local struct.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if limit.rlim_cur < limit.rlim_max && libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
            limit.rlim_cur = limit.rlim_max;
        }
    }
    #[allow(clippy::useless_conversion, reason = "rlim_t is 32 bits wide on some targets")]
    limit.rlim_cur.into()
}

/// Signals as a readable descriptor: they are blocked everywhere and read by the loop.
pub struct SignalFd(OwnedFd);

/// What the daemon listens for.
pub const SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];

impl SignalFd {
    /// Must be called before any other thread starts: threads inherit the mask.
    ///
    /// # Errors
    /// When the system refuses the descriptor.
    pub fn open() -> io::Result<SignalFd> {
        SignalFd::of(&SIGNALS)
    }
    /// For other signals than the daemon's.
    ///
    /// # Errors
    /// As [`SignalFd::open`].
    pub fn of(signals: &[i32]) -> io::Result<SignalFd> {
        // SAFETY: the set is initialised by sigemptyset before use; the descriptor is checked, then owned once.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            if libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(SignalFd(OwnedFd::from_raw_fd(fd)))
        }
    }
    /// The next pending signal number, if any.
    pub fn next(&self) -> Option<i32> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: read fills at most `size` bytes of a buffer of that size; it is used only when filled whole.
        unsafe {
            let n = libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (n == size as isize).then(|| info.assume_init().ssi_signo as i32)
        }
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal; `pid` must be positive (never a group, never everybody).
///
/// # Errors
/// As kill(2), or InvalidInput for a pid below 1.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid < 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to the process group that `leader` leads; the caller has not reaped it yet, so that the number is still its own.
///
/// # Errors
/// As kill(2), or InvalidInput for a leader below 2 (0 is our own group, 1 everybody).
pub fn kill_group(leader: i32, signal: i32) -> io::Result<()> {
    if leader < 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes integers.
    match unsafe { libc::kill(-leader, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The child will lead a session and a process group of its own, without a terminal, listen to the signals that
/// [`SignalFd::open`] blocked, and inherit no descriptor above 2.
pub fn own_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: all calls take integers or an initialised local set, and may be made between fork and exec. A fresh child leads no
    // group, so setsid cannot fail; close_range is best effort (Linux 5.11): our own descriptors are close-on-exec, this is for
    // those that we inherited.
    unsafe {
        command.pre_exec(|| {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        })
    };
}

/// A descriptor that becomes readable when that child ends (pidfd_open, Linux 5.3); the caller has not reaped it.
///
/// # Errors
/// As pidfd_open(2).
pub fn pidfd(child: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes integers; the descriptor is checked, then owned once. It is close-on-exec by itself.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child as libc::pid_t, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The system that this is built for, as Node names it.
pub fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Waits until one of the descriptors can be read (or is at its end), at most `timeout_ms`; answers which. None waits for nothing.
///
/// # Errors
/// As poll(2); an interruption counts as nothing readable.
pub fn poll<const N: usize>(fds: [Option<BorrowedFd>; N], timeout_ms: u64) -> io::Result<[bool; N]> {
    let mut all = fds.map(|it| libc::pollfd {
        fd: it.map_or(-1, |it| it.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
    // SAFETY: the array is valid for its length; poll writes `revents` alone and skips negative descriptors.
    if unsafe { libc::poll(all.as_mut_ptr(), N as libc::nfds_t, timeout) } < 0 {
        let err = io::Error::last_os_error();
        return if err.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(err) };
    }
    Ok(all.map(|it| it.revents != 0))
}

/// Opens `path` beneath the folder `root`: no link anywhere on the way, nothing outside (openat2, Linux 5.6).
///
/// # Errors
/// ELOOP for a link, EXDEV for an escape, ENOSYS on an old kernel, else as openat(2).
pub fn open_beneath(root: &std::fs::File, path: &str, flags: i32, mode: u32) -> io::Result<std::fs::File> {
    let path = CString::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: open_how is plain data for which all zeroes is valid; the kernel is told its true size; the path outlives the call.
    unsafe {
        let mut how: libc::open_how = std::mem::zeroed();
        how.flags = (flags | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK) as u64;
        how.mode = if flags & libc::O_CREAT != 0 { u64::from(mode) } else { 0 };
        how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
        let fd = libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &how as *const libc::open_how,
            size_of::<libc::open_how>(),
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::fs::File::from_raw_fd(fd as RawFd))
    }
}

/// Renames within the folder `root`.
///
/// # Errors
/// As renameat(2).
pub fn rename_in(root: &std::fs::File, from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (CString::new(from)?, CString::new(to)?);
    // SAFETY: both paths outlive the call, the descriptor is open.
    match unsafe { libc::renameat(root.as_raw_fd(), from.as_ptr(), root.as_raw_fd(), to.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the folder `name` in the folder `root`.
///
/// # Errors
/// As mkdirat(2).
pub fn make_dir_in(root: &std::fs::File, name: &str, mode: u32) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the name outlives the call, the descriptor is open.
    match unsafe { libc::mkdirat(root.as_raw_fd(), name.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Removes the file `name` from the folder `root`.
///
/// # Errors
/// As unlinkat(2).
pub fn remove_in(root: &std::fs::File, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the name outlives the call, the descriptor is open.
    match unsafe { libc::unlinkat(root.as_raw_fd(), name.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A file that is in memory alone, with these bytes, to be read from its beginning.
///
/// # Errors
/// When the system refuses it.
pub fn memory_file(bytes: &[u8]) -> io::Result<std::fs::File> {
    // SAFETY: memfd_create takes a text that ends with NUL, and flags.
    let fd = unsafe { libc::memfd_create(c"gatewayd".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, open and nobody else's.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Takes an exclusive advisory lock, or says who cannot.
///
/// # Errors
/// WouldBlock when another process holds it.
pub fn lock_exclusive(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: flock takes an open descriptor and an integer.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `uname`: (host name, release, machine).
pub fn uname() -> (String, String, String) {
    // SAFETY: uname fills the zeroed struct with NUL-terminated strings; the buffers outlive the reads.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        let text = |it: &[libc::c_char]| {
            let bytes: Vec<u8> = it.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (text(&name.nodename), text(&name.release), text(&name.machine))
    }
}

/// Seconds to add to UTC for this machine's local time at that moment (`TZ`, else /etc/localtime).
pub fn utc_offset_s(unix_s: i64) -> i64 {
    let at = unix_s as libc::time_t;
    // SAFETY: localtime_r fills the local struct and is given valid pointers; it is read only when filled.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&at, &mut tm).is_null() {
            return 0;
        }
        #[allow(clippy::useless_conversion, reason = "as above")]
        tm.tm_gmtoff.into()
    }
}

/// What is typed is not shown, as long as this lives. Nothing where stdin is no terminal.
pub struct NoEcho(Option<libc::termios>);

impl NoEcho {
    pub fn of_stdin() -> NoEcho {
        // SAFETY: tcgetattr fills the zeroed struct, which is used only where it said so; both calls get valid pointers.
        unsafe {
            let mut now: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &mut now) != 0 {
                return NoEcho(None);
            }
            let mut quiet = now;
            quiet.c_lflag &= !libc::ECHO;
            libc::tcsetattr(0, libc::TCSANOW, &quiet);
            NoEcho(Some(now))
        }
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: the struct was filled by tcgetattr.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, before) };
        }
    }
}

/// What can still be written to a file system.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// For this user; 0 when it is mounted read-only, or has room for no file more.
    pub free_bytes: u64,
}

/// Of the file system that `path` is on.
///
/// # Errors
/// As statvfs(3).
pub fn disk_space(path: &std::path::Path) -> io::Result<Space> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs fills the zeroed struct, which is read only when it succeeded; the path outlives the call.
    unsafe {
        let mut it: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut it) != 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(clippy::useless_conversion, reason = "as above")]
        let (unit, free, files) = (u64::from(it.f_frsize), u64::from(it.f_bavail), u64::from(it.f_favail));
        // Some file systems count no files at all.
        let closed = it.f_flag & libc::ST_RDONLY != 0 || (it.f_files > 0 && files == 0);
        Ok(Space { free_bytes: if closed { 0 } else { unit * free } })
    }
}

/// A socket that the kernel answers questions about sockets on (sock_diag(7)).
///
/// # Errors
/// As socket(2).
pub fn socket_of_diagnoses() -> io::Result<std::fs::File> {
    // SAFETY: socket takes integers; the descriptor is checked, then owned once.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::fs::File::from_raw_fd(fd))
    }
}

/// Addresses of this host that are not loopback, IPv4 first: (interface, address).
pub fn addresses() -> Vec<(String, std::net::IpAddr)> {
    let mut out = vec![];
    // SAFETY: the list is walked while it lives and freed once; address families are checked before the casts.
    unsafe {
        let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
        if libc::getifaddrs(&mut list) != 0 {
            return out;
        }
        let mut at = list;
        while let Some(entry) = at.as_ref() {
            at = entry.ifa_next;
            let Some(addr) = entry.ifa_addr.as_ref() else { continue };
            let ip = match i32::from(addr.sa_family) {
                libc::AF_INET => {
                    let a = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                    std::net::IpAddr::from(a.sin_addr.s_addr.to_ne_bytes())
                }
                libc::AF_INET6 => {
                    let a = &*entry.ifa_addr.cast::<libc::sockaddr_in6>();
                    std::net::IpAddr::from(a.sin6_addr.s6_addr)
                }
                _ => continue,
            };
            if !ip.is_loopback() {
                let name = std::ffi::CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned();
                out.push((name, ip));
            }
        }
        libc::freeifaddrs(list);
    }
    out.sort_by_key(|(_, ip)| ip.is_ipv6());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn kill_refuses_groups() {
        assert!(kill(0, 0).is_err() && kill(-1, 0).is_err());
        assert!(kill_group(0, 0).is_err() && kill_group(1, 0).is_err() && kill_group(-5, 0).is_err());
        assert!(kill(std::process::id() as i32, 0).is_ok());
    }
    #[test]
    fn uname_names_something() {
        assert!(!uname().1.is_empty());
    }
}
