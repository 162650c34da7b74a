//! The command line.

mod clients;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use countersign_device_protocol::ids::{Number, TextError};

pub(crate) use self::clients::{AddClient, ClientCommand, ClientName, SetClient};
use crate::{
    commands::{self, template::Template},
    demo, doctor,
    logging::LogFormat,
    output::{Failure, Output},
    serve,
};

/// Where the data is unless somebody says otherwise.
const DATA: &str = "/var/lib/countersign";
/// The exit code for a command that is written wrongly (EX_USAGE of sysexits).
const USAGE: u8 = 64;

/// Multi-factor authentication server with its own phone app
#[derive(Parser)]
#[command(
    name = "countersign",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Folder of the server's data [default: /var/lib/countersign; for demo: ./demo-data]
    #[arg(long, global = true, env = "COUNTERSIGN_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer in JSON, one document; errors too, on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve {
        /// How log lines look; COUNTERSIGN_LOG=debug and the like says which there are
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
        log_format: LogFormat,
    },
    /// Run a server to try things out, with a user, a resource and an activation
    Demo,
    /// Say what is wrong with configuration, files and server, and what to do
    Doctor {
        /// Send a push as well, to this device or to all devices of this user, and say what comes back
        #[arg(long, value_name = "DEVICE|USER", value_parser = NonEmptyStringValueParser::new())]
        push: Option<String>,
    },
    /// Users: add, list, show, disable, enable, unlock, remove
    #[command(subcommand)]
    User(UserCommand),
    /// Activations: hand one out
    #[command(subcommand)]
    Activation(ActivationCommand),
    /// Devices: list, resume, remove
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Resources, which logins are for: add, list, show, set, remove
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// RADIUS clients, which send the logins: add, list, show, set, remove
    #[command(subcommand)]
    Client(ClientCommand),
    /// Directories, which users come from: add, list, show, test, sync, set, remove
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Upstreams, RADIUS servers that check the first factor: add, list, show, test, set, remove
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// The audit: list, export, verify
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copy the database to a new file while the server runs; the key file is not in it
    Backup {
        /// The new file; nothing is overwritten
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a backup in the place of the database; the server must be stopped
    Restore(Restore),
    /// The key that secrets in the database are encrypted with
    #[command(subcommand)]
    Key(KeyCommand),
    /// A phone for the terminal, to try things out with; its keys are in a file
    Phone {
        /// The phone's own file
        #[arg(long, value_name = "FILE")]
        state: PathBuf,
        #[command(subcommand)]
        command: PhoneCommand,
    },
    /// Send one login to a RADIUS server, as a VPN does, and say what comes back: exit code 0 accepted, 1 rejected,
    /// 2 no answer, 3 asked for more
    RadiusLogin(RadiusLogin),
}

#[derive(Args)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only look whether it could be restored: whole, of this or an older version, and opened by the key file
    #[arg(long)]
    pub(crate) check: bool,
    /// An export of the audit that goes further than the backup: what was forbidden since is forbidden again
    #[arg(long, value_name = "EXPORT")]
    pub(crate) audit: Option<PathBuf>,
    /// Take a backup whose audit was tampered with before it was made
    #[arg(long)]
    pub(crate) despite_broken_audit: bool,
}

#[derive(Subcommand)]
pub(crate) enum PhoneCommand {
    /// Add an account: by address and code, or by the text of a QR code
    Activate {
        /// Address of the server, or the text of the QR code
        #[arg(value_name = "URL|QR-TEXT")]
        address: String,
        /// The code that goes with the address
        #[arg(value_name = "CODE")]
        code: Option<String>,
    },
    /// Wait for sign-ins and answer them
    Watch {
        /// Answer by itself, without asking
        #[arg(long, value_enum)]
        answer: Option<Answer>,
        /// With `--answer verify`: the number that the sign-in shows, where it shows one
        #[arg(long, value_name = "NUMBER", requires = "answer", value_parser = number)]
        number: Option<Number>,
        /// End after one answer
        #[arg(long)]
        once: bool,
    },
    /// Show the six-digit codes of the accounts
    Codes,
    /// List what a sign-in window can be opened for
    Applications,
    /// Open a sign-in window and wait for its end: the first login within a minute is let in without a question
    Open {
        /// The application, by name or identifier
        #[arg(value_name = "APPLICATION")]
        application: String,
    },
}

fn number(text: &str) -> Result<Number, TextError> {
    Number::new(text)
}

/// What a phone answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Let it in
    Verify,
    /// Do not
    Deny,
    /// It was somebody else: do not, and freeze pushes of the user
    DenyReport,
}

/// Octets as they are written.
#[derive(Debug, Clone)]
pub(crate) struct Hexadecimal(pub(crate) Vec<u8>);

fn hexadecimal(text: &str) -> Result<Hexadecimal, String> {
    let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    octets.map(Hexadecimal).map_err(|_| "it is not hexadecimal".to_owned())
}

#[derive(Args)]
pub(crate) struct RadiusLogin {
    /// User name to log on with
    #[arg(value_name = "USER")]
    pub(crate) user: String,
    /// Address of the server; port 1812 where none is given
    #[arg(long, value_name = "HOST[:PORT]", default_value = crate::radius_login::DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Read the shared secret from the first line of standard input instead of asking for it
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Send a password (or a code), from standard input behind the secret; without this none is sent
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Where the user sits: sent as Calling-Station-Id
    #[arg(long, value_name = "TEXT")]
    pub(crate) calling_station: Option<String>,
    /// Answer a question of the server: the state that it came with (exit code 3 tells it), in hexadecimal; the answer is
    /// the password, and everything else is as it was
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub(crate) state: Option<Hexadecimal>,
    /// How long to wait: 30s, 2m [default: 70s]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) timeout: Option<u64>,
    /// Send the same packet again so often: 3s
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) resend_every: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; the password is asked for
    Add(AddUser),
    /// List all users
    List,
    /// Show one user
    Show(UserName),
    /// Take no more logins of a user, also of one who is just logging on
    Disable(UserName),
    /// Take logins of a user again
    Enable(UserName),
    /// Lift pauses of pushes and codes, and the freeze that follows "It wasn't me"
    Unlock {
        #[command(flatten)]
        user: UserName,
        /// Why, for the audit: who asked, and how you knew that it was them
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a user log on by CHAP, or no more
    Set(SetUser),
    /// Let a user in once without a second factor, at the next login within so many seconds
    Bypass {
        #[command(flatten)]
        user: UserName,
        /// For how long, 24 hours at most
        #[arg(long, value_name = "SECONDS", default_value = "300", conflicts_with = "cancel")]
        seconds: u64,
        /// Why, for the audit: who asked, and how you knew that it was them
        #[arg(long, value_name = "TEXT", required_unless_present = "cancel")]
        reason: Option<String>,
        /// Take it back
        #[arg(long, conflicts_with = "reason")]
        cancel: bool,
    },
    /// Remove a user with all devices
    Remove(UserName),
}

#[derive(Args)]
#[command(group = ArgGroup::new("change").required(true).args(["chap", "no_chap"]))]
pub(crate) struct SetUser {
    #[command(flatten)]
    pub(crate) user: UserName,
    /// Keep the password itself, for clients that speak CHAP; it is asked for, and must be the one that is set
    #[arg(long)]
    pub(crate) chap: bool,
    /// Read that password from standard input; one newline at its end is not part of it
    #[arg(long, requires = "chap")]
    pub(crate) password_stdin: bool,
    /// Forget the password that is kept for CHAP
    #[arg(long)]
    pub(crate) no_chap: bool,
}

#[derive(Args)]
pub(crate) struct UserName {
    /// Login name, in any letter case
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

#[derive(Args)]
pub(crate) struct AddUser {
    #[command(flatten)]
    pub(crate) user: UserName,
    /// The name on screens [default: the login name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) display_name: Option<String>,
    /// Read the password from standard input; one newline at its end is not part of it
    #[arg(long, conflicts_with = "no_password")]
    pub(crate) password_stdin: bool,
    /// Without a local password: for resources whose client checks passwords itself (primary none)
    #[arg(long)]
    pub(crate) no_password: bool,
    /// Keep the password itself beside its hash, for clients that speak CHAP: only where they cannot speak PAP
    #[arg(long, conflicts_with = "no_password")]
    pub(crate) chap: bool,
}

#[derive(Subcommand)]
pub(crate) enum ActivationCommand {
    /// Hand out a code, an address and a QR code by which a user adds one device; an older one of the user ends
    Issue {
        /// Login name of the user
        #[arg(value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
        user: String,
        /// How long it can be used: 90s, 10m, 24h; 24 hours at most
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
        expires: u64,
        /// Write the QR code as a picture to this file
        #[arg(long, value_name = "FILE")]
        png: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// List devices, of one user or of all
    List {
        /// Login name of the user
        #[arg(value_name = "USER")]
        user: Option<String>,
    },
    /// Let a suspended device answer again
    Resume(DeviceId),
    /// Remove a device: its app is told so, and its key is never taken again
    Remove(DeviceId),
}

#[derive(Args)]
pub(crate) struct DeviceId {
    /// Identifier of the device, from `device list`
    #[arg(value_name = "DEVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}

#[derive(Subcommand)]
pub(crate) enum ResourceCommand {
    /// Add a resource and the RADIUS client that asks for it
    Add(AddResource),
    /// List all resources
    List,
    /// Show one resource; its secret is never shown
    Show(ResourceName),
    /// Change a resource; what is not named stays as it is
    Set(SetResource),
    /// Remove a resource and its client
    Remove(ResourceName),
}

#[derive(Args)]
pub(crate) struct ResourceName {
    /// Name of the resource
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").args(["secret_stdin", "generate_secret"]).conflicts_with("no_client"))]
#[command(group = ArgGroup::new("who").args(["clients", "no_client"]).required(true))]
pub(crate) struct AddResource {
    #[command(flatten)]
    pub(crate) resource: ResourceName,
    /// Settings that go together; what is said beside it counts instead
    #[arg(long, value_enum)]
    pub(crate) template: Option<Template>,
    /// Which door leads to it
    #[arg(long, value_enum, default_value = "radius")]
    pub(crate) kind: Kind,
    /// Address or network that its RADIUS packets come from; may be given several times
    #[arg(long = "client", value_name = "ADDR[/PREFIX]", requires = "secret")]
    pub(crate) clients: Vec<String>,
    /// It has no client of its own: rules of other clients lead to it
    #[arg(long)]
    pub(crate) no_client: bool,
    /// Read the shared secret from standard input; one newline at its end is not part of it
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a shared secret of 32 characters and show it, once
    #[arg(long)]
    pub(crate) generate_secret: bool,
    /// Who checks the password: local (countersign, its own), directory (the one of --directory), radius (the servers of
    /// --upstream), none (the client has done it, or only a code is typed) [default: local]
    #[arg(long, value_enum)]
    pub(crate) primary: Option<Primary>,
    /// Where its users are looked up, instead of among those who were added here
    #[arg(long, value_name = "NAME")]
    pub(crate) directory: Option<String>,
    /// RADIUS servers that check the password, with --primary radius
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// What its client sends for them: password, or nothing, as an RD Gateway, which has checked the password itself
    /// [default: password]
    #[arg(long, value_enum, requires = "upstream")]
    pub(crate) expects: Option<Expects>,
    /// Whether that may be an MS-CHAP-V2 exchange: only where its client speaks it inside of a tunnel (TLS, IPsec), for whoever
    /// sees one can break it [default: off]
    #[arg(long, value_enum, requires = "upstream")]
    pub(crate) ms_chap: Option<Switch>,
    /// Whether its users may log on by EAP: PEAP, TTLS, TLS. Only where those servers name in their answer whom they have let
    /// in (docs/guide/eap.md) [default: off]
    #[arg(long, value_enum, requires = "upstream")]
    pub(crate) eap: Option<Switch>,
    /// Group of the directory whose members may log on, directly or through other groups; may be given several times
    /// [default: everybody in the directory]
    #[arg(long = "allow-group", value_name = "GROUP")]
    pub(crate) allow_groups: Vec<String>,
    /// Group of the directory in which whoever logs on must be as well; may be given several times, and every one counts
    #[arg(long = "require-group", value_name = "GROUP")]
    pub(crate) require_groups: Vec<String>,
    /// Attribute of an Access-Accept, as 'Filter-Id = staff', or for members of a group of the directory as
    /// 'GROUP -> Class = admins'; may be given several times
    #[arg(long = "reply", value_name = "[GROUP -> ]ATTRIBUTE = VALUE")]
    pub(crate) reply: Vec<String>,
    /// How its client writes names and passwords
    #[arg(long, value_enum)]
    pub(crate) charset: Option<Charset>,
    /// Take packets without Message-Authenticator: only for clients that cannot send it, on a trusted network
    #[arg(long)]
    pub(crate) no_require_message_authenticator: bool,
    /// Seconds until the client gives up, 5 to 300; a little less than it really waits [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) answer_by: Option<u64>,
    /// What becomes of a request that repeats a waiting login: join (it takes it over), collide (both are refused)
    #[arg(long, value_enum, default_value = "join")]
    pub(crate) retries: Retries,
    /// Whether the phone verifies its user, by fingerprint, face or PIN, before a Verify: off, preferred (where the phone
    /// is set up for it), required (users without such a phone cannot log on by phone) [default: off]
    #[arg(long, value_enum)]
    pub(crate) user_verification: Option<UserVerification>,
    /// Seconds, 300 at most, for which an approval lets in one further login of the same user from the same place without
    /// asking: for clients that ask twice [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) remember: Option<u64>,
    /// Let users open sign-in windows: where the client has checked the password and can show nothing
    #[arg(long)]
    pub(crate) windows: bool,
    /// Let them open none, where the template would
    #[arg(long, conflicts_with = "windows")]
    pub(crate) no_windows: bool,
    /// What is asked at the client's prompt: code-to-phone (the phone shows six digits, they are typed at the prompt), typed
    /// (the prompt shows a number, it is typed into the phone), totp (a code of the account list); several with commas.
    /// Only for clients that can show an Access-Challenge: an RD Gateway cannot [default: no prompt]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAY[,WAY]")]
    pub(crate) prompt: Vec<Way>,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").args(["secret_stdin", "generate_secret"]))]
#[command(group = ArgGroup::new("change").multiple(true).required(true).args([
    "rename", "clients", "secret_stdin", "generate_secret", "primary", "directory", "no_directory", "upstream", "expects", "ms_chap", "eap",
    "allow_groups", "allow_all_groups", "require_groups", "no_require_groups", "reply", "no_reply", "charset", "require_message_authenticator", "no_require_message_authenticator", "answer_by", "retries",
    "user_verification", "remember", "prompt", "no_prompt", "windows", "no_windows",
]))]
pub(crate) struct SetResource {
    #[command(flatten)]
    pub(crate) resource: ResourceName,
    /// Another name
    #[arg(long, value_name = "NEW")]
    pub(crate) rename: Option<String>,
    /// Address or network that its RADIUS packets come from, instead of all before; may be given several times
    #[arg(long = "client", value_name = "ADDR[/PREFIX]")]
    pub(crate) clients: Vec<String>,
    /// Read a new shared secret from standard input; one newline at its end is not part of it
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a new shared secret and show it, once
    #[arg(long)]
    pub(crate) generate_secret: bool,
    /// Who checks the password; with local there is no directory any more
    #[arg(long, value_enum)]
    pub(crate) primary: Option<Primary>,
    /// Where its users are looked up
    #[arg(long, value_name = "NAME")]
    pub(crate) directory: Option<String>,
    /// RADIUS servers that check the password, with --primary radius
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// What its client sends for them
    #[arg(long, value_enum)]
    pub(crate) expects: Option<Expects>,
    /// Whether that may be an MS-CHAP-V2 exchange
    #[arg(long, value_enum)]
    pub(crate) ms_chap: Option<Switch>,
    /// Whether its users may log on by EAP
    #[arg(long, value_enum)]
    pub(crate) eap: Option<Switch>,
    /// Look its users up among those who were added here
    #[arg(long, conflicts_with = "directory")]
    pub(crate) no_directory: bool,
    /// Group whose members may log on, instead of all before; may be given several times
    #[arg(long = "allow-group", value_name = "GROUP")]
    pub(crate) allow_groups: Vec<String>,
    /// Let everybody in the directory log on
    #[arg(long, conflicts_with = "allow_groups")]
    pub(crate) allow_all_groups: bool,
    /// Group in which whoever logs on must be as well, instead of all before; may be given several times
    #[arg(long = "require-group", value_name = "GROUP")]
    pub(crate) require_groups: Vec<String>,
    /// Require no group any more
    #[arg(long, conflicts_with = "require_groups")]
    pub(crate) no_require_groups: bool,
    /// Attribute of an Access-Accept, instead of all before, as 'Filter-Id = staff', or for members of a group of the
    /// directory as 'GROUP -> Class = admins'; may be given several times
    #[arg(long = "reply", value_name = "[GROUP -> ]ATTRIBUTE = VALUE")]
    pub(crate) reply: Vec<String>,
    /// Add no attributes to an Access-Accept
    #[arg(long, conflicts_with = "reply")]
    pub(crate) no_reply: bool,
    /// How its client writes names and passwords
    #[arg(long, value_enum)]
    pub(crate) charset: Option<Charset>,
    /// Drop packets without Message-Authenticator
    #[arg(long, conflicts_with = "no_require_message_authenticator")]
    pub(crate) require_message_authenticator: bool,
    /// Take packets without Message-Authenticator
    #[arg(long)]
    pub(crate) no_require_message_authenticator: bool,
    /// Seconds until the client gives up, 5 to 300
    #[arg(long, value_name = "SECONDS")]
    pub(crate) answer_by: Option<u64>,
    /// What becomes of a request that repeats a waiting login
    #[arg(long, value_enum)]
    pub(crate) retries: Option<Retries>,
    /// Whether the phone verifies its user before a Verify
    #[arg(long, value_enum)]
    pub(crate) user_verification: Option<UserVerification>,
    /// Seconds for which an approval lets in one further login; 0: none
    #[arg(long, value_name = "SECONDS")]
    pub(crate) remember: Option<u64>,
    /// What is asked at the client's prompt, instead of all before: code-to-phone, typed, totp
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAY[,WAY]")]
    pub(crate) prompt: Vec<Way>,
    /// Ask nothing at a prompt: the phone alone decides
    #[arg(long, conflicts_with = "prompt")]
    pub(crate) no_prompt: bool,
    /// Let users open sign-in windows
    #[arg(long, conflicts_with = "no_windows")]
    pub(crate) windows: bool,
    /// Let them open none
    #[arg(long)]
    pub(crate) no_windows: bool,
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

macro_rules! words {
    ($name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(crate) enum $name {
            $($(#[$about])* $variant,)*
        }

        impl $name {
            /// The word that the server takes.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words!(Kind { Radius = "radius", });
words!(Primary { Local = "local", Directory = "directory", Radius = "radius", None = "none", });
words!(Expects { Password = "password", Nothing = "nothing", });
words!(DirectoryKind {
    /// Active Directory, or Samba as its domain controller
    Ad = "ad",
    /// Any other: OpenLDAP, 389, FreeIPA
    Ldap = "ldap",
});
words!(UserVerification { Off = "off", Preferred = "preferred", Required = "required", });
words!(Way { CodeToPhone = "code-to-phone", Typed = "typed", Totp = "totp", });
words!(Charset {
    /// As RFC 2865 says
    #[value(name = "utf-8")]
    Utf8 = "utf-8",
    /// Latin-1, with what Windows adds to it
    #[value(name = "windows-1252")]
    Windows1252 = "windows-1252",
});
words!(Retries { Join = "join", Collide = "collide", });

#[derive(Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Add a directory; the password of the account that searches is asked for
    Add(Box<AddDirectory>),
    /// List all directories
    List,
    /// Show one directory; its password is never shown
    Show(DirectoryName),
    /// Walk through everything that a login needs, and say what is wrong; exit code 1 if something is
    Test {
        #[command(flatten)]
        directory: DirectoryName,
        /// Look this user up as well, with groups: a name as the user would type it
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Bring its users in, and follow who is renamed, disabled or gone there; exit code 1 if that failed or is held
    Sync {
        #[command(flatten)]
        directory: DirectoryName,
        /// Read all users, not only those that changed
        #[arg(long)]
        full: bool,
        /// Only say what would be written
        #[arg(long)]
        dry_run: bool,
        /// Go on although more users than the brake lets through would be disabled or vanish
        #[arg(long)]
        accept_removals: bool,
    },
    /// Change a directory; what is not named stays as it is
    Set(Box<SetDirectory>),
    /// Remove a directory that no resource uses
    Remove {
        #[command(flatten)]
        directory: DirectoryName,
        /// With all users who came from it, and their devices
        #[arg(long)]
        with_users: bool,
    },
}

#[derive(Args)]
pub(crate) struct DirectoryName {
    /// Name of the directory
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(mut_arg("servers", |arg| arg.required(true)))]
#[command(mut_arg("kind", |arg| arg.required(true)))]
#[command(mut_arg("base", |arg| arg.required(true)))]
#[command(mut_arg("bind_name", |arg| arg.required(true)))]
pub(crate) struct AddDirectory {
    #[command(flatten)]
    pub(crate) directory: DirectoryName,
    #[command(flatten)]
    pub(crate) settings: DirectorySettings,
}

#[derive(Args)]
pub(crate) struct SetDirectory {
    #[command(flatten)]
    pub(crate) directory: DirectoryName,
    /// Another name
    #[arg(long, value_name = "NEW")]
    pub(crate) rename: Option<String>,
    #[command(flatten)]
    pub(crate) settings: DirectorySettings,
}

#[derive(Args)]
pub(crate) struct DirectorySettings {
    /// Server: ldaps://dc1.example.com, or ldap://… for StartTLS; several times, in the order in which they are asked
    #[arg(long = "server", value_name = "URL")]
    pub(crate) servers: Vec<String>,
    /// What kind of directory it is
    #[arg(long, value_enum)]
    pub(crate) kind: Option<DirectoryKind>,
    /// Below which users are looked for: DC=example,DC=com
    #[arg(long, value_name = "DN")]
    pub(crate) base: Option<String>,
    /// Below which groups are looked for [default: the whole domain; not with Active Directory: as --base]
    #[arg(long, value_name = "DN")]
    pub(crate) group_base: Option<String>,
    /// The account that searches: a DN; with Active Directory also svc-mfa@example.com
    #[arg(long, value_name = "NAME")]
    pub(crate) bind_name: Option<String>,
    /// Read the password of that account from standard input; one newline at its end is not part of it
    #[arg(long)]
    pub(crate) bind_password_stdin: bool,
    /// PEM file with the CA that signed the servers' certificates [default: the CAs of this machine]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Trust the CAs of this machine
    #[arg(long, conflicts_with = "ca_file")]
    pub(crate) system_cas: bool,
    /// What may stand before a backslash: EXAMPLE for EXAMPLE\alice; may be given several times
    #[arg(long = "netbios-domain", value_name = "NAME")]
    pub(crate) netbios_domains: Vec<String>,
    /// What may stand behind the @ of a short name, beside what follows from --base; may be given several times
    #[arg(long = "dns-domain", value_name = "NAME")]
    pub(crate) dns_domains: Vec<String>,
    /// Let users type their mail address; only where they cannot write it themselves
    #[arg(long, conflicts_with = "no_mail_login")]
    pub(crate) mail_login: bool,
    /// Do not
    #[arg(long)]
    pub(crate) no_mail_login: bool,
    /// Attribute with the short name [default: sAMAccountName, or uid]
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) login_attribute: Option<String>,
    /// Attribute that never changes [default: objectGUID, or entryUUID]
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) id_attribute: Option<String>,
    /// Which entries are users, an LDAP filter
    #[arg(long, value_name = "FILTER")]
    pub(crate) user_filter: Option<String>,
    /// Which entries are groups, an LDAP filter
    #[arg(long, value_name = "FILTER")]
    pub(crate) group_filter: Option<String>,
    /// The directory locks an account at so many wrong passwords in a row; 0: never [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) lockout_threshold: Option<u8>,
    /// After so long without one it counts anew: 10m, 30m [default: 30m]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) lockout_window: Option<u64>,
    /// Synchronise its users every so often, 1m to 24h from start to start; off: only by `directory sync` [default: off]
    #[arg(long, value_name = "TIME|off", value_parser = span_or_off)]
    pub(crate) sync_interval: Option<OrNot>,
    /// Which users come in: add:container:DN, add:group:GROUP, skip:container:DN, skip:group:GROUP; several times, the first
    /// that has a user counts. Instead of all before
    #[arg(long = "sync-rule", value_name = "RULE")]
    pub(crate) sync_rules: Vec<String>,
    /// Let nobody come in by synchronisation
    #[arg(long, conflicts_with = "sync_rules")]
    pub(crate) no_sync_rules: bool,
    /// When more users than this would be disabled or vanish at once, nothing is written: 1 to 999 [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) sync_brake: Option<u16>,
    /// Remove users, with their devices, once they have been gone from the directory for so many days [default: never]
    #[arg(long, value_name = "DAYS|never", value_parser = days_or_never)]
    pub(crate) sync_remove_after: Option<OrNot>,
}

/// A number, or a word that says that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrNot(pub(crate) Option<u64>);

fn span_or_off(text: &str) -> Result<OrNot, String> {
    if text == "off" { Ok(OrNot(None)) } else { span(text).map(|seconds| OrNot(Some(seconds))) }
}

fn days_or_never(text: &str) -> Result<OrNot, String> {
    if text == "never" {
        return Ok(OrNot(None));
    }
    text.parse().map(|days| OrNot(Some(days))).map_err(|_| "write a number of days, or never".to_owned())
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Encrypt everything anew under a new key; the server must be stopped. After an interruption the same again goes on
    Rotate,
}

#[derive(Subcommand)]
pub(crate) enum UpstreamCommand {
    /// Add an upstream
    Add(AddUpstream),
    /// List all upstreams, and how their servers do
    List,
    /// Show one upstream; its secrets are never shown
    Show(UpstreamName),
    /// Ask each server whether it is there, and say what is wrong; exit code 1 if something is
    Test(TestUpstream),
    /// Change an upstream; what is not named stays as it is
    Set(SetUpstream),
    /// Remove an upstream that no resource uses
    Remove(UpstreamName),
}

#[derive(Args)]
pub(crate) struct UpstreamName {
    /// Name of the upstream
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").args(["secret_stdin", "generate_secret"]))]
pub(crate) struct AddUpstream {
    #[command(flatten)]
    pub(crate) upstream: UpstreamName,
    /// Address of a server, with its port unless that is 1812; given several times, they are asked in this order. Over TLS:
    /// tls://ADDR[:PORT]/DNS-NAME, or /sha256:FINGERPRINT
    #[arg(long = "server", value_name = "ADDR[:PORT]", required = true)]
    pub(crate) servers: Vec<String>,
    /// Address of a server that keeps accounting, with its port unless that is 1813; given several times, they are asked in
    /// this order. On the machine of a server it has the secret of that
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) accounting: Vec<String>,
    /// Read the shared secret from standard input: one line for all servers, or one for each. Servers over TLS have none
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a shared secret of 32 characters for each server and show it, once
    #[arg(long)]
    pub(crate) generate_secret: bool,
}

#[derive(Args)]
pub(crate) struct TestUpstream {
    #[command(flatten)]
    pub(crate) upstream: UpstreamName,
    /// Send a login of this user, as the user would type the name, instead of Status-Server
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// Read the password from standard input instead of asking for it; one newline at its end is not part of it
    #[arg(long, requires = "user", conflicts_with = "no_password")]
    pub(crate) password_stdin: bool,
    /// Send no password, as an RD Gateway does
    #[arg(long, requires = "user")]
    pub(crate) no_password: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").args(["secret_stdin", "generate_secret"]))]
#[command(group = ArgGroup::new("change").multiple(true).required(true).args([
    "rename", "servers", "accounting", "no_accounting", "secret_stdin", "generate_secret",
]))]
pub(crate) struct SetUpstream {
    #[command(flatten)]
    pub(crate) upstream: UpstreamName,
    /// Another name
    #[arg(long, value_name = "NEW")]
    pub(crate) rename: Option<String>,
    /// Address of a server, instead of all before; given several times, they are asked in this order. One that was there
    /// before keeps its secret
    #[arg(long = "server", value_name = "ADDR[:PORT]")]
    pub(crate) servers: Vec<String>,
    /// Address of a server that keeps accounting, instead of all before; given several times, they are asked in this order
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) accounting: Vec<String>,
    /// Accounting goes on to nobody
    #[arg(long, conflicts_with = "accounting")]
    pub(crate) no_accounting: bool,
    /// Read a new shared secret from standard input: one line for all servers, or one for each
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a new shared secret for each server and show it, once
    #[arg(long)]
    pub(crate) generate_secret: bool,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// List the newest records, the newest last
    List(ListAudit),
    /// Write all records as JSON lines, the oldest first
    Export,
    /// Check every record, and the signed checkpoints; exit code 1 where something was changed or is missing
    Verify {
        /// A copy of the checkpoints to check against, instead of the server's own file
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct ListAudit {
    /// At most so many [default: 50; with --json 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: Option<u32>,
    /// Only of this user, by id or by the name that was typed
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Only of this login
    #[arg(long, value_name = "ID")]
    pub(crate) login: Option<String>,
    /// Only with this reason: approved, denied, expired, collision, password_wrong, …
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Option<String>,
    /// Only of this event: login.ended, user.added, …
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Option<String>,
}

/// Reads a span such as `90s`, `10m` or `24h`, in seconds.
fn span(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| "write a time such as 90s, 10m or 24h".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is too long: 24h at most".to_owned())
}

/// Runs the program.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::runtime::quiet_panics();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(said) if said.use_stderr() && arguments.iter().any(|argument| argument == "--json") => {
            let text = said.to_string();
            let fault = anyhow!("{}", text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            Output::new(true).failure(&Failure::Local { code: "usage", fault });
            return ExitCode::from(USAGE);
        }
        Err(said) => {
            let _gone = said.print();
            return if said.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let output = Output::new(cli.json);
    match run(cli.command, cli.data.as_deref(), output) {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, data: Option<&Path>, output: Output) -> Result<ExitCode, Failure> {
    let folder = data.unwrap_or(Path::new(DATA));
    let server = matches!(command, Command::Serve { .. } | Command::Demo);
    let mut builder = if server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build().context("the program cannot start its tasks")?;
    runtime.block_on(async {
        match command {
            Command::Serve { log_format } => serve::serve(folder, log_format, output).await?,
            Command::Demo => demo::demo(data.unwrap_or(Path::new(demo::DATA)), output).await?,
            Command::Doctor { push } => doctor::doctor(folder, push.as_deref(), output).await?,
            Command::User(command) => commands::user::run(command, folder, output).await?,
            Command::Activation(command) => commands::activation::run(command, folder, output).await?,
            Command::Device(command) => commands::device::run(command, folder, output).await?,
            Command::Resource(command) => commands::resource::run(command, folder, output).await?,
            Command::Client(command) => commands::client::run(command, folder, output).await?,
            Command::Directory(command) => commands::directory::run(command, folder, output).await?,
            Command::Backup { file } => commands::backup::run(&file, folder, output).await?,
            Command::Key(command) => commands::key::run(command, folder, output).await?,
            Command::Restore(what) => commands::restore::run(what, folder, output).await?,
            Command::Upstream(command) => commands::upstream::run(command, folder, output).await?,
            Command::Audit(command) => commands::audit::run(command, folder, output).await?,
            Command::Phone { state, command } => commands::phone::run(command, &state, output).await?,
            Command::RadiusLogin(login) => return commands::radius_login::run(login, output).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read() {
        assert_eq!([span("90s"), span("10m"), span("24h"), span("7")], [Ok(90), Ok(600), Ok(86_400), Ok(7)]);
        for wrong in ["", "h", "1d", "-1m", "1.5h", "99999999999999999999", "9999999999999999999h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
