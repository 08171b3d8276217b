//! epoll(7), with a word for each descriptor that says what it is.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::stdio::{Channel, End};

/// What a descriptor is. Keys are never used twice, so that an event that was fetched before its owner went means nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    Signals,
    /// The publisher's connection.
    Publisher,
    /// A job has been done.
    Jobs,
    /// A client's connection.
    Connection(u64),
    /// A process.
    Process(u64),
    /// A program that takes a container's output.
    Driver(u64),
    /// Want of memory, by the first process.
    Oom(u64),
    /// One end of a copy, by its process.
    Copy(u64, Channel, End),
}

impl Token {
    const KIND: u32 = 56;

    fn pack(self) -> u64 {
        let word = |kind: u64, key: u64| kind << Self::KIND | key;
        match self {
            Self::Listener => word(0, 0),
            Self::Signals => word(1, 0),
            Self::Publisher => word(2, 0),
            Self::Jobs => word(3, 0),
            Self::Connection(key) => word(4, key),
            Self::Process(key) => word(5, key),
            Self::Driver(key) => word(6, key),
            Self::Oom(key) => word(7, key),
            Self::Copy(key, channel, end) => {
                let channel = match channel {
                    Channel::Input => 0,
                    Channel::Output => 2,
                    Channel::Errors => 4,
                };
                word(8 + channel + u64::from(end == End::Sink), key)
            }
        }
    }

    fn unpack(word: u64) -> Option<Self> {
        let key = word & ((1 << Self::KIND) - 1);
        let end = |kind: u64| if kind.is_multiple_of(2) { End::Source } else { End::Sink };
        Some(match word >> Self::KIND {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Publisher,
            3 => Self::Jobs,
            4 => Self::Connection(key),
            5 => Self::Process(key),
            6 => Self::Driver(key),
            7 => Self::Oom(key),
            kind @ 8..=9 => Self::Copy(key, Channel::Input, end(kind)),
            kind @ 10..=11 => Self::Copy(key, Channel::Output, end(kind)),
            kind @ 12..=13 => Self::Copy(key, Channel::Errors, end(kind)),
            _ => return None,
        })
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Both,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        }
    }
}

/// The descriptors that are waited for.
#[derive(Debug)]
pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> nix::Result<Self> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> nix::Result<()> {
        self.0.add(fd, EpollEvent::new(interest.flags(), token.pack()))
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: Token, interest: Interest) -> nix::Result<()> {
        self.0.modify(fd, &mut EpollEvent::new(interest.flags(), token.pack()))
    }

    /// Waits no more for a descriptor, which may not have been waited for.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // A descriptor that is not in the set, or closed with all its copies, is what is wanted.
        let _not_there = self.0.delete(fd);
    }

    /// What is ready; waits at most `milliseconds`, or as long as it takes.
    pub(crate) fn wait(&self, milliseconds: Option<u16>) -> nix::Result<Vec<Token>> {
        const AT_ONCE: usize = 32;
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let timeout = milliseconds.map_or(EpollTimeout::NONE, EpollTimeout::from);
        let count = match self.0.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        Ok(events.iter().take(count).filter_map(|event| Token::unpack(event.data())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let mut tokens = vec![Token::Listener, Token::Signals, Token::Publisher, Token::Jobs];
        for key in [0, 1, 77, (1 << Token::KIND) - 1] {
            tokens.extend([Token::Connection(key), Token::Process(key), Token::Driver(key), Token::Oom(key)]);
            for channel in [Channel::Input, Channel::Output, Channel::Errors] {
                tokens.extend([Token::Copy(key, channel, End::Source), Token::Copy(key, channel, End::Sink)]);
            }
        }
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
