//! libseccomp as an oracle: loaded at run time, so that building and testing need no C library.
#![allow(unsafe_code, reason = "calls into a C library loaded at run time")]
#![allow(clippy::unwrap_used, clippy::missing_transmute_annotations, reason = "test support")]
#![allow(dead_code, reason = "each test uses a part")]
use orlop_seccomp::{Action, Arch, Profile, SockFilter};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ArgCmp {
    arg: c_uint,
    op: c_int,
    datum_a: u64,
    datum_b: u64,
}

const ATTRIBUTE_BAD_ARCH: c_int = 2;
const ATTRIBUTE_OPTIMIZE: c_int = 8;
const KILL_PROCESS: u32 = 0x8000_0000;
const UNKNOWN: c_int = -1;

/// The library.
pub(crate) struct Oracle {
    init: unsafe extern "C" fn(u32) -> *mut c_void,
    release: unsafe extern "C" fn(*mut c_void),
    arch_add: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    arch_remove: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    resolve: unsafe extern "C" fn(*const c_char) -> c_int,
    resolve_on: unsafe extern "C" fn(u32, *const c_char) -> c_int,
    rule_add: unsafe extern "C" fn(*mut c_void, u32, c_int, c_uint, *const ArgCmp) -> c_int,
    attribute: unsafe extern "C" fn(*mut c_void, c_int, u32) -> c_int,
    export: unsafe extern "C" fn(*const c_void, c_int) -> c_int,
    version: unsafe extern "C" fn() -> *const [c_uint; 3],
}

/// Why the library made no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) c_int);

impl Oracle {
    /// Loads the library (another than the system's if `ORLOP_LIBSECCOMP` names one); the reason if it is not there.
    pub(crate) fn load() -> Result<Self, String> {
        let path = std::env::var("ORLOP_LIBSECCOMP").unwrap_or_else(|_| "libseccomp.so.2".to_owned());
        let path = CString::new(path).unwrap();
        // SAFETY: a terminated name that outlives the call; the library's constructors are those of a plain C library.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(format!("{path:?} cannot be loaded"));
        }
        macro_rules! symbol {
            ($name:literal) => {{
                // SAFETY: the handle is live (it is never closed) and the name a constant, terminated one.
                let address = unsafe { libc::dlsym(library, $name.as_ptr()) };
                if address.is_null() {
                    return Err(format!("libseccomp has no {:?}", $name));
                }
                // SAFETY: the field's type is the function's declaration in <seccomp.h>.
                unsafe { std::mem::transmute(address) }
            }};
        }
        // Taken as known, not asked of the kernel: under valgrind there is no seccomp(2) to ask.
        let api_set: unsafe extern "C" fn(c_uint) -> c_int = symbol!(c"seccomp_api_set");
        // SAFETY: takes a number.
        unsafe { api_set(5) };
        Ok(Self {
            init: symbol!(c"seccomp_init"),
            release: symbol!(c"seccomp_release"),
            arch_add: symbol!(c"seccomp_arch_add"),
            arch_remove: symbol!(c"seccomp_arch_remove"),
            resolve: symbol!(c"seccomp_syscall_resolve_name"),
            resolve_on: symbol!(c"seccomp_syscall_resolve_name_arch"),
            rule_add: symbol!(c"seccomp_rule_add_array"),
            attribute: symbol!(c"seccomp_attr_set"),
            export: symbol!(c"seccomp_export_bpf"),
            version: symbol!(c"seccomp_version"),
        })
    }

    /// Its version.
    pub(crate) fn version(&self) -> String {
        // SAFETY: takes nothing, returns a pointer to a static.
        let version = unsafe { (self.version)() };
        // SAFETY: non-null and live for ever, three unsigned numbers.
        let [major, minor, micro] = unsafe { *version };
        format!("{major}.{minor}.{micro}")
    }

    /// The library's token for an architecture.
    pub(crate) fn token(arch: Arch) -> u32 {
        // x32 is the one without an audit token of its own.
        if arch == Arch::X32 { 62 | 0x4000_0000 } else { arch.audit() }
    }

    /// The number of a call; negative for one the architecture has only by another way, `None` if it is unknown.
    pub(crate) fn number(&self, arch: Arch, name: &str) -> Option<i32> {
        let name = CString::new(name).unwrap();
        // SAFETY: the name is terminated and live for the call.
        let number = unsafe { (self.resolve_on)(Self::token(arch), name.as_ptr()) };
        (number != UNKNOWN).then_some(number)
    }

    /// Makes the filter runc would make of `profile`, before its ENOSYS stub, for `architectures`.
    ///
    /// `tree` asks for the binary tree, as runc does for more than 32 rules.
    pub(crate) fn compile(
        &self,
        profile: &Profile<'_>,
        architectures: &[Arch],
        tree: bool,
    ) -> Result<Vec<SockFilter>, Refused> {
        let default = action(&profile.default_action, profile.default_errno_ret);
        // SAFETY: takes a number.
        let context = Context { oracle: self, pointer: unsafe { (self.init)(default) } };
        context.set(ATTRIBUTE_BAD_ARCH, KILL_PROCESS)?;
        context.architectures(architectures)?;
        if tree {
            context.set(ATTRIBUTE_OPTIMIZE, 2)?;
        }
        for rule in &profile.syscalls {
            let action = action(&rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            let conditions: Vec<ArgCmp> = rule
                .args
                .iter()
                .map(|arg| ArgCmp { arg: arg.index, op: operator(&arg.op), datum_a: arg.value, datum_b: arg.value_two })
                .collect();
            let mut seen = [0_u32; 6];
            conditions.iter().for_each(|condition| seen[condition.arg as usize] += 1);
            for name in &rule.names {
                let name = CString::new(&**name).unwrap();
                // SAFETY: the name is terminated and live for the call.
                let number = unsafe { (self.resolve)(name.as_ptr()) };
                if number == UNKNOWN {
                    continue;
                }
                if seen.iter().any(|&count| count > 1) {
                    for condition in conditions.chunks(1) {
                        context.rule(action, number, condition)?;
                    }
                } else {
                    context.rule(action, number, &conditions)?;
                }
            }
        }
        context.program()
    }
}

struct Context<'a> {
    oracle: &'a Oracle,
    pointer: *mut c_void,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `seccomp_init` and released only here.
        unsafe { (self.oracle.release)(self.pointer) };
    }
}

fn checked(result: c_int) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused(result)) }
}

impl Context<'_> {
    fn set(&self, attribute: c_int, value: u32) -> Result<(), Refused> {
        // SAFETY: a live context and two numbers.
        checked(unsafe { (self.oracle.attribute)(self.pointer, attribute, value) })
    }

    fn architectures(&self, architectures: &[Arch]) -> Result<(), Refused> {
        const EXISTS: c_int = -17;
        let native = Arch::native().unwrap();
        if !architectures.contains(&native) {
            // SAFETY: a live context and a number.
            checked(unsafe { (self.oracle.arch_remove)(self.pointer, Oracle::token(native)) })?;
        }
        for &arch in architectures {
            // SAFETY: a live context and a number.
            let result = unsafe { (self.oracle.arch_add)(self.pointer, Oracle::token(arch)) };
            if result != EXISTS {
                checked(result)?;
            }
        }
        Ok(())
    }

    fn rule(&self, action: u32, number: c_int, conditions: &[ArgCmp]) -> Result<(), Refused> {
        let count = conditions.len().try_into().unwrap();
        // SAFETY: a live context, and an array with the length given.
        checked(unsafe { (self.oracle.rule_add)(self.pointer, action, number, count, conditions.as_ptr()) })
    }

    fn program(&self) -> Result<Vec<SockFilter>, Refused> {
        // SAFETY: a constant, terminated name.
        let fd = unsafe { libc::memfd_create(c"filter".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "memfd_create");
        // SAFETY: just made, owned by nothing else.
        let mut file = unsafe { File::from_raw_fd(fd) };
        // SAFETY: a live context and an open file.
        checked(unsafe { (self.oracle.export)(self.pointer, file.as_raw_fd()) })?;
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let instruction = |bytes: &[u8]| SockFilter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        // The library writes a program in the byte order of the architectures it is for.
        let foreign = bytes.first().is_some_and(|&first| first == 0);
        let swap = |i: SockFilter| SockFilter { code: i.code.swap_bytes(), k: i.k.swap_bytes(), ..i };
        let program = bytes.chunks_exact(8).map(instruction);
        Ok(if foreign { program.map(swap).collect() } else { program.collect() })
    }
}

/// The library's action word, which is what the filter returns.
fn action(name: &str, data: Option<u32>) -> u32 {
    let data = u16::try_from(data.unwrap_or(1)).unwrap();
    match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(data),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "SCMP_ACT_TRACE" => Action::Trace(data),
        "SCMP_ACT_TRAP" => Action::Trap,
        other => panic!("action {other}"),
    }
    .to_raw()
}

fn operator(name: &str) -> c_int {
    match name {
        "SCMP_CMP_NE" => 1,
        "SCMP_CMP_LT" => 2,
        "SCMP_CMP_LE" => 3,
        "SCMP_CMP_EQ" => 4,
        "SCMP_CMP_GE" => 5,
        "SCMP_CMP_GT" => 6,
        "SCMP_CMP_MASKED_EQ" => 7,
        other => panic!("operator {other}"),
    }
}
