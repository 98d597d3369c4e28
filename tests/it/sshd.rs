//! An sshd for one `ssh`, where one is installed: keys and settings of its own, spoken to through a pipe, so that no port is opened.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|it| it.join(name)).find(|it| it.is_file())
}

fn said(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Puts an `ssh` into `bin` that reaches this machine under any name, and says that the tunnel is open when it is.
///
/// # Errors
/// What is not installed.
pub fn offer(dir: &Path, bin: &Path) -> Result<(), &'static str> {
    let [Some(ssh), Some(sshd), Some(keygen)] = ["ssh", "sshd", "ssh-keygen"].map(find) else {
        return Err("ssh, sshd and ssh-keygen are not all installed");
    };
    std::fs::create_dir(dir).unwrap();
    for name in ["key", "host"] {
        said(Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)));
    }
    let at = dir.display();
    let settings = format!(
        "HostKey {at}/host\nAuthorizedKeysFile {at}/key.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
    );
    std::fs::write(dir.join("sshd_config"), settings).unwrap();
    let mut server = format!("{} -i -f {at}/sshd_config", sshd.display());
    if said(Command::new("id").arg("-u")) == "0" {
        // Root's wants a folder that an installed service makes: here on a /run that nobody else sees.
        server = format!("unshare -m sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec {server}'");
    }
    let settings = format!(
        "ProxyCommand {server}\nIdentityFile {at}/key\nIdentitiesOnly yes\nStrictHostKeyChecking no\n\
         UserKnownHostsFile /dev/null\nExitOnForwardFailure yes\nPermitLocalCommand yes\nLocalCommand echo the tunnel is open\n"
    );
    std::fs::write(dir.join("config"), settings).unwrap();
    let me = said(Command::new("id").arg("-un"));
    let script = format!("#!/bin/sh\nexec {} -F {at}/config -l {me} \"$@\"\n", ssh.display());
    std::fs::write(bin.join("ssh"), script).unwrap();
    std::fs::set_permissions(bin.join("ssh"), PermissionsExt::from_mode(0o755)).unwrap();
    Ok(())
}
