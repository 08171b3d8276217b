//! Unpacking hostile and odd layers: what is refused, what is confined, and that nothing outside the layer changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use orlop_images::layer::tar::{Kind, Time};
use orlop_images::layer::{Limits, Name, Unpacked};
use orlop_images::{Kind as ErrorKind, Result};
use support::layout::gzip;
use support::{Archive, Place, is_root, zstd};

/// Unpacks an archive beside a directory that nothing may touch.
fn unpack(archive: &Archive) -> (Place, Result<Unpacked>) {
    let place = Place::new();
    let result = place.unpack(&archive.bytes());
    place.check_outside();
    (place, result)
}

fn refused(archive: &Archive, reason: &str) {
    let (_place, result) = unpack(archive);
    let error = result.unwrap_err().to_string();
    assert!(error.contains(reason), "{error}\nshould say: {reason}");
    assert!(!error.contains('\n'), "{error}");
}

fn name(path: &str) -> Name {
    Name::parse(path.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn all_kinds_of_files_are_made() {
    if !is_root("all_kinds_of_files_are_made") {
        return;
    }
    let mut archive = Archive::new();
    archive.directory("d/").with(|entry| {
        entry.mode = 0o1750;
        entry.uid = 7;
        entry.gid = 8;
        entry.mtime = Time { seconds: 1_000_000_000, nanos: 5 };
    });
    archive.file("d/suid", b"hello").with(|entry| {
        entry.mode = 0o4755;
        entry.uid = 1000;
        entry.xattrs = vec![(b"user.a".to_vec(), b"b\0c".to_vec())];
    });
    archive.link("d/hard", Kind::HardLink(b"/d/suid".to_vec()));
    archive.link("d/soft", Kind::Symlink(b"/etc/passwd".to_vec())).with(|entry| entry.uid = 12);
    archive.link("d/pipe", Kind::Fifo).with(|entry| entry.mode = 0o622);
    archive.link("d/null", Kind::CharDevice(1, 3)).with(|entry| entry.mode = 0o666);
    archive.link("d/disk", Kind::BlockDevice(259, 70_000));
    archive.link("d/linked-soft", Kind::HardLink(b"d/soft".to_vec()));
    let (place, result) = unpack(&archive);
    let unpacked = result.unwrap();
    assert_eq!((unpacked.entries, unpacked.size), (8, 5));
    assert!(unpacked.implied.is_empty() && unpacked.deferred.is_empty(), "{unpacked:?}");
    let status = |path: &str| place.layer().join(path).symlink_metadata().unwrap();
    let d = status("d");
    assert_eq!((d.mode() & 0o7777, d.uid(), d.gid(), d.mtime(), d.mtime_nsec()), (0o1750, 7, 8, 1_000_000_000, 5));
    let suid = status("d/suid");
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.nlink(), suid.mtime()), (0o4755, 1000, 2, support::MTIME));
    assert_eq!(status("d/hard").ino(), suid.ino());
    assert_eq!((status("d/soft").uid(), status("d/soft").mtime()), (12, support::MTIME));
    assert_eq!(status("d/linked-soft").ino(), status("d/soft").ino());
    assert_eq!(std::fs::read_link(place.layer().join("d/soft")).unwrap().to_str().unwrap(), "/etc/passwd");
    assert!(status("d/pipe").file_type().is_fifo());
    assert_eq!(status("d/pipe").permissions().mode() & 0o7777, 0o622);
    assert_eq!((status("d/null").rdev(), status("d/null").mode() & 0o7777), (libc::makedev(1, 3), 0o666));
    assert_eq!(status("d/disk").rdev(), libc::makedev(259, 70_000));
    assert_eq!(place.xattr("d/suid", "user.a").unwrap(), b"b\0c");
}

#[test]
fn names_that_lead_out_are_refused() {
    for path in ["../x", "a/../../x", "/../x", "a/..", ".."] {
        refused(Archive::new().file(path, b"x"), "a name with `..` in it");
        refused(Archive::new().link("a", Kind::HardLink(path.as_bytes().to_vec())), "a name with `..` in it");
    }
    refused(Archive::new().file("", b"x"), "an entry without a name");
    refused(Archive::new().file("./", b"x").with(|entry| entry.path = b"./.".to_vec()), "the root of a layer");
    refused(Archive::new().file(&"a/".repeat(300), b"").with(|entry| entry.path.push(b'x')), "301 components");
}

#[test]
fn absolute_names_begin_at_the_root_of_the_layer() {
    let place = Place::new();
    let target = place.outside().join("new");
    let archive = Archive::new().file(target.to_str().unwrap(), b"x").take();
    place.unpack(&archive.bytes()).unwrap();
    place.check_outside();
    assert_eq!(std::fs::read(place.layer().join(target.strip_prefix("/").unwrap())).unwrap(), b"x");
}

#[test]
fn links_on_the_way_are_followed_within_the_layer() {
    for target in ["../../../outside", "/outside", "outside", "./x/../../outside"] {
        let mut archive = Archive::new();
        archive.directory("x").link("a", Kind::Symlink(target.as_bytes().to_vec())).file("a/new", b"x");
        let (place, result) = unpack(&archive);
        result.unwrap();
        assert_eq!(std::fs::read(place.layer().join("outside/new")).unwrap(), b"x", "{target}");
    }
    let place = Place::new();
    let outside = place.outside().to_str().unwrap().to_owned();
    let mut archive = Archive::new();
    archive.link("a", Kind::Symlink(outside.clone().into_bytes())).file("a/canary", b"overwritten");
    place.unpack(&archive.bytes()).unwrap();
    place.check_outside();
    assert!(place.layer().join(outside.trim_start_matches('/')).join("canary").is_file());
}

#[test]
fn loops_end_in_an_error() {
    let mut archive = Archive::new();
    archive.link("a", Kind::Symlink(b"b".to_vec())).link("b", Kind::Symlink(b"a".to_vec())).file("a/x", b"");
    refused(&archive, "too many symbolic links");
    let mut archive = Archive::new();
    archive.link("a", Kind::Symlink(b"a/a/a/a/a/a/a/a".to_vec())).file("a/x", b"");
    refused(&archive, "too many symbolic links");
}

#[test]
fn hard_links_never_lead_out() {
    let place = Place::new();
    let canary = place.outside().join("canary");
    let mut archive = Archive::new();
    archive
        .link("root", Kind::Symlink(b"/".to_vec()))
        .link("h1", Kind::HardLink(canary.to_str().unwrap().as_bytes().to_vec()))
        .link("h2", Kind::HardLink(format!("root{}", canary.display()).into_bytes()))
        .link("s", Kind::Symlink(canary.to_str().unwrap().as_bytes().to_vec()))
        .link("h3", Kind::HardLink(b"s".to_vec()));
    let unpacked = place.unpack(&archive.bytes()).unwrap();
    place.check_outside();
    // The first two may be in a lower layer; the third is the link itself.
    let wanted = name(canary.to_str().unwrap());
    assert_eq!(unpacked.deferred.into_iter().collect::<Vec<_>>(), [(name("h1"), wanted.clone()), (name("h2"), wanted)]);
    assert!(place.layer().join("h3").symlink_metadata().unwrap().file_type().is_symlink());
    refused(Archive::new().directory("d").link("h", Kind::HardLink(b"d".to_vec())), "a hard link to a directory");
    refused(Archive::new().link("h", Kind::HardLink(b"/".to_vec())), "a hard link to the root");
}

#[test]
fn a_later_entry_replaces_an_earlier_one_and_writes_through_nothing() {
    let place = Place::new();
    let canary = place.outside().join("canary").to_str().unwrap().as_bytes().to_vec();
    let mut archive = Archive::new();
    archive
        .link("f", Kind::Symlink(canary.clone()))
        .file("f", b"new")
        .link("p", Kind::Fifo)
        .file("p", b"new")
        .directory("d")
        .file("d/x", b"")
        .link("d", Kind::Symlink(place.outside().to_str().unwrap().as_bytes().to_vec()))
        .file("h", b"old")
        .link("h2", Kind::HardLink(b"h".to_vec()))
        .file("h", b"new")
        .link("h2", Kind::HardLink(b"h2".to_vec()));
    place.unpack(&archive.bytes()).unwrap();
    place.check_outside();
    let read = |path| std::fs::read(place.layer().join(path)).unwrap();
    assert_eq!(
        (read("f"), read("p"), read("h"), read("h2")),
        (b"new".to_vec(), b"new".to_vec(), b"new".to_vec(), b"old".to_vec())
    );
    assert!(place.layer().join("d").symlink_metadata().unwrap().file_type().is_symlink());
}

#[test]
fn a_directory_keeps_its_time_and_its_latest_description() {
    let mut archive = Archive::new();
    archive.directory("a").with(|entry| entry.xattrs = vec![(b"user.old".to_vec(), b"1".to_vec())]);
    archive.directory("b").file("a/one", b"1").file("b/two", b"2").file("a/three", b"3");
    archive.directory("a").with(|entry| entry.mode = 0o711);
    archive.file("a/four", b"4");
    let (place, result) = unpack(&archive);
    result.unwrap();
    let a = place.layer().join("a").metadata().unwrap();
    assert_eq!((a.mtime(), a.mode() & 0o7777), (support::MTIME, 0o711));
    assert_eq!(place.layer().join("b").metadata().unwrap().mtime(), support::MTIME);
    assert_eq!(std::fs::read_dir(place.layer().join("a")).unwrap().count(), 3);
    assert_eq!(place.xattr("a", "user.old"), None);
}

#[test]
fn what_is_no_directory_has_nothing_in_it() {
    refused(Archive::new().file("a", b"").file("a/b", b""), "not a directory");
}

#[test]
fn whiteouts_hide_lower_layers_and_nothing_of_their_own() {
    let mut archive = Archive::new();
    archive
        .file("gone/.wh.a", b"")
        .directory("kept")
        .file("kept/new", b"x")
        .file(".wh.kept", b"")
        .file("file", b"x")
        .file(".wh.file", b"")
        .file(".wh.again", b"")
        .directory("again")
        .file(".wh.implied", b"")
        .file("implied/x", b"")
        .file(".wh.replaced", b"")
        .file("replaced", b"x")
        .directory("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/x", b"")
        .file(".wh.target", b"")
        .link("link", Kind::HardLink(b"target".to_vec()));
    let (place, result) = unpack(&archive);
    let unpacked = result.unwrap();
    let whiteout = |path: &str| {
        let status = place.layer().join(path).symlink_metadata().unwrap();
        status.file_type().is_char_device() && status.rdev() == 0
    };
    assert!(whiteout("gone/a") && whiteout("target"));
    assert!(place.layer().join("kept/new").is_file() && place.layer().join("file").is_file());
    assert!(place.layer().join("replaced").is_file());
    for directory in ["kept", "again", "implied", "opaque"] {
        assert!(place.is_opaque(directory), "{directory}");
    }
    assert_eq!(unpacked.implied.into_iter().collect::<Vec<_>>(), [name("gone")]);
    assert_eq!(unpacked.deferred.into_iter().collect::<Vec<_>>(), [(name("link"), name("target"))]);
    for path in [".wh.", ".wh..", ".wh...", "a/.wh..", ".wh..wh.plnk", ".wh.a/b"] {
        let (_place, result) = unpack(Archive::new().file(path, b""));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidContent, "{path}");
    }
}

#[test]
fn what_only_overlayfs_may_set_is_refused_or_left_out() {
    refused(Archive::new().link("x", Kind::CharDevice(0, 0)), "a character device 0:0");
    let mut archive = Archive::new();
    archive.file("f", b"").with(|entry| {
        entry.xattrs = ["trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"]
            .map(|name| (name.as_bytes().to_vec(), b"y".to_vec()))
            .to_vec();
    });
    let (place, result) = unpack(&archive);
    assert_eq!(result.unwrap().left_out.len(), 3);
    assert_eq!(place.xattr("f", "trusted.overlay.redirect"), None);
}

#[test]
fn limits_are_kept() {
    let limit = |limits: Limits, archive: &Archive, reason: &str| {
        let place = Place::new();
        let error = place.unpack_with(&archive.bytes(), limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    let mut few = Limits::default();
    few.entries = 2;
    limit(few, Archive::new().file("a", b"").file("b", b"").file("c", b""), "more than 2 entries");
    let mut small = Limits::default();
    small.apparent = 10;
    limit(small, Archive::new().file("a", b"123456").file("b", b"123456"), "more than 10 bytes in all");
    let mut short = Limits::default();
    short.archive = 1 << 20;
    limit(short, Archive::new().file("a", &vec![0; 2 << 20]), "more than 1048576 bytes");
}

#[test]
fn a_bomb_is_recognized_while_it_expands() {
    let place = Place::new();
    let archive = Archive::new().file("zeros", &vec![0; 16 << 20]).take().bytes();
    let mut limits = Limits::default();
    limits.ratio_from = 1 << 20;
    limits.ratio = 100;
    for (blob, compression) in [(gzip(&archive), "gzip"), (zstd(&archive), "zstd")] {
        let error = place.unpack_blob(&blob, &archive, compression, limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("more than 100 times"), "{error}");
    }
}

#[test]
fn blobs_that_are_not_what_was_promised_are_refused() {
    let archive = Archive::new().file("a", &vec![7; 100_000]).take().bytes();
    let (gz, zst) = (gzip(&archive), zstd(&archive));
    let error = |blob: &[u8], compression: &str| {
        let place = Place::new();
        place.unpack_blob(blob, &archive, compression, Limits::default()).unwrap_err().to_string()
    };
    assert!(error(&gz[..gz.len() - 20], "gzip").contains("the gzip stream ends too early"));
    assert!(error(&zst[..zst.len() - 5], "zstd").contains("zstd stream"));
    assert!(error(&zst, "gzip").contains("its media type says gzip, its contents are zstd"));
    assert!(error(&gz, "none").contains("its media type says not compressed, its contents are gzip"));
    assert!(error(&archive[..100], "none").contains("the archive ends within an entry"));
    let mut damaged = gz.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(error(&damaged, "gzip").contains("the gzip stream"));
    let place = Place::new();
    let other = Archive::new().file("b", b"").take().bytes();
    let text = place.unpack_blob(&gz, &other, "gzip", Limits::default()).unwrap_err().to_string();
    assert!(text.contains("where the image's config says sha256:"), "{text}");
    let text = place.unpack_lying(&gz, &archive, gz.len() as u64 + 1).unwrap_err().to_string();
    assert!(text.contains("bytes, where its descriptor says"), "{text}");
    let text = place.unpack_lying(&gz, &archive, gz.len() as u64 - 1).unwrap_err().to_string();
    assert!(text.contains("longer than the"), "{text}");
}

#[test]
fn members_and_frames_in_a_row_are_one_archive() {
    let archive = Archive::new().file("a", &vec![7; 100_000]).file("b", b"x").take().bytes();
    let (head, tail) = archive.split_at(70_000);
    for (blob, compression) in
        [([gzip(head), gzip(b""), gzip(tail)].concat(), "gzip"), ([zstd(head), zstd(tail)].concat(), "zstd")]
    {
        let place = Place::new();
        place.unpack_blob(&blob, &archive, compression, Limits::default()).unwrap();
        assert_eq!(std::fs::read(place.layer().join("b")).unwrap(), b"x");
    }
}

#[test]
fn holes_stay_holes() {
    // `tar --sparse` in its three formats, of a file with data at 0 and at 1 MiB.
    let place = Place::new();
    let source = place.scratch("source");
    let file = source.join("sparse");
    let mut data = vec![0u8; (1 << 20) + 4096];
    data[0] = 1;
    data[1 << 20] = 2;
    std::fs::write(&file, &data).unwrap();
    symlink("sparse", source.join("link")).unwrap();
    for format in [
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=1.0",
    ] {
        // From a file with real holes.
        let script = format!(
            "cd {0} && cp --sparse=always sparse holes && tar --owner=0 --group=0 --sparse {format} -cf ../s.tar holes link",
            source.display()
        );
        assert!(std::process::Command::new("sh").arg("-c").arg(script).status().unwrap().success());
        let place = Place::new();
        place.unpack(&std::fs::read(source.join("../s.tar")).unwrap()).unwrap();
        let made = place.layer().join("holes");
        assert_eq!(std::fs::read(&made).unwrap(), data, "{format}");
        assert!(made.metadata().unwrap().blocks() * 512 < 1 << 20, "{format}");
    }
}

/// Changes bytes of an archive at random places, most of them with the checksum made right again.
#[test]
fn mutated_archives_change_nothing_outside() {
    let place = Place::new();
    let outside = place.outside().to_str().unwrap().as_bytes().to_vec();
    let mut archive = Archive::new();
    archive
        .directory("d")
        .file("d/f", &[7; 700])
        .link("d/s", Kind::Symlink(outside))
        .link("h", Kind::HardLink(b"d/f".to_vec()));
    archive.file("d/s/x", b"x").file("d/.wh.y", b"").file("d/.wh..wh..opq", b"").link("p", Kind::Fifo);
    archive.file(&"long/".repeat(40), b"").with(|entry| entry.path.push(b'x'));
    archive.file("x", b"1").with(|entry| entry.xattrs = vec![(b"user.x".to_vec(), b"y".to_vec())]);
    let valid = archive.bytes();
    let mut random = support::Random(0x5eed);
    let (mut fine, mut wrong) = (0, 0);
    for _ in 0..200 {
        let mut bytes = valid.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = match random.below(3) {
                0 => b"/.\0-.w"[random.below(6)],
                1 => b"01234567xgLKS"[random.below(13)],
                _ => u8::try_from(random.below(256)).unwrap(),
            };
            support::fix_checksum(&mut bytes, at);
        }
        place.empty_layer();
        match place.unpack(&bytes) {
            Ok(_) => fine += 1,
            Err(error) => {
                assert!(!error.to_string().contains("panicked"), "{error}");
                wrong += 1;
            }
        }
        place.check_outside();
    }
    assert!(fine > 10 && wrong > 10, "{fine} fine, {wrong} wrong");
}

#[test]
fn what_is_kept_for_later_has_a_bound() {
    // Names of 250 components: a few megabytes of archive once it is compressed, gigabytes of names.
    let deep = "d/".repeat(250);
    let mut archive = Archive::new();
    for number in 0..8000 {
        archive.file(&format!("{deep}.wh.{number}"), b"");
    }
    refused(&archive, "more and longer names than are kept for what depends on lower layers");
    let mut archive = Archive::new();
    for number in 0..4000 {
        archive.link(&format!("{deep}{number}"), Kind::HardLink(format!("{deep}l{number}").into_bytes()));
    }
    refused(&archive, "more and longer names than are kept for what depends on lower layers");
    // Any number of names of attributes that are left out are told as a few.
    let attributes = |count: usize| -> Vec<_> {
        (0..count).map(|number| (format!("user.overlay.{number}").into_bytes(), Vec::new())).collect()
    };
    let mut archive = Archive::new();
    archive.file("a", b"").with(|entry| entry.xattrs = attributes(1000));
    let (_place, result) = unpack(&archive);
    let left_out = result.unwrap().left_out;
    assert!(left_out.len() <= 33, "{}", left_out.len());
    assert_eq!(left_out.values().sum::<u64>(), 1000);
    refused(archive.with(|entry| entry.xattrs = attributes(1100)), "more than 1024 extended attributes");
}

#[test]
fn unpacking_ends_when_it_is_cancelled_though_the_blob_has_been_read() {
    use orlop_images::layer::{Blob, Ids, Options, OverlayXattrs, Squash};
    const SIZE: usize = 200 << 20;
    let archive = Archive::new().file("zeros", &vec![0; SIZE]).take().bytes();
    let blob = gzip(&archive);
    assert!(blob.len() < 256 << 10, "one read gets it whole");
    let place = Place::new();
    let options = Options {
        limits: Limits::default(),
        ids: Ids::of_this_process(Squash::Refuse).unwrap(),
        xattrs: OverlayXattrs::User,
    };
    let cancel = orlop_images::Cancel::new();
    let whole = Blob {
        bytes: &blob[..],
        digest: orlop_images::Digest::of(&blob),
        size: blob.len() as u64,
        compression: orlop_images::Compression::Gzip,
        diff_id: orlop_images::Digest::of(&archive),
    };
    let root = std::fs::File::open(place.layer()).unwrap().into();
    let result = orlop_images::layer::unpack(whole, root, &options, &cancel, &|_| cancel.cancel());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    let length = place.layer().join("zeros").symlink_metadata().map_or(0, |status| status.len());
    assert!(length < SIZE as u64, "it went on to the end");
}
