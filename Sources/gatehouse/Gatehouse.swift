import ArgumentParser
import CJemalloc
import GatehouseServer

@main
struct Gatehouse: ParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "gatehouse",
        abstract: "An API gateway: TLS, HTTP/1.1 and HTTP/2, tokens, limits, routes.",
        version: "gatehouse \(version)",
        subcommands: [Run.self, Check.self, Jwks.self, Tokens.self, Reasons.self])
}

/// Serves.
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve what a configuration file says.",
        discussion:
            "SIGHUP reloads the file, SIGUSR1 reopens log files, SIGTERM finishes what is under way and exits."
    )

    @Option(name: .shortAndLong, help: "The configuration file.")
    var config: String

    @Option(help: "Seconds that exchanges under way get after SIGTERM.")
    var drainTimeout = 30

    func validate() throws {
        guard (0...86_400).contains(drainTimeout) else {
            throw ValidationError("--drain-timeout must be from 0 to 86400 seconds")
        }
    }

    func run() throws {
        let options = ServerOptions(
            configurationFile: config, drainTimeout: UInt64(drainTimeout) * 1_000_000_000,
            version: Gatehouse.version,
            // Naming jemalloc links it, and it serves every allocation of the process.
            allocatedBytes: { Int(clamping: cjemalloc_allocated()) })
        do throws(StartError) {
            try Server.run(options)
        } catch {
            Terminal.tell(error.text)
            throw ExitCode(1)
        }
    }
}

/// Checks a configuration file.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a configuration file, and the files that it names, without serving.")

    @Argument(help: "The configuration file.")
    var file: String

    func run() throws {
        if let errors = ConfigurationFile.check(file) {
            Terminal.tell(errors)
            throw ExitCode(1)
        }
        print("\(file): ok")
    }
}

/// Explains the reasons that answers, logs and metrics name.
struct Reasons: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what the reasons in answers, logs and metrics mean, and what to do.")

    @Argument(help: "One reason, such as rate_limited; all of them without it.")
    var name: String?

    @Option(
        help: "text, markdown or json.",
        transform: {
            guard let format = ReasonTable.Format(rawValue: $0) else {
                throw ValidationError("it is one of text, markdown, json")
            }
            return format
        })
    var format = ReasonTable.Format.text

    func run() throws {
        guard let name else {
            print(ReasonTable.all(format), terminator: "")
            return
        }
        guard let told = ReasonTable.one(name, format) else {
            Terminal.tell("no reason is called '\(name)'\(ReasonTable.suggestion(for: name))")
            throw ExitCode(1)
        }
        print(told, terminator: "")
    }
}

/// What has to do with bearer tokens.
struct Tokens: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jwt", abstract: "Look into bearer tokens.", subcommands: [CheckToken.self])
}

/// Explains one token.
struct CheckToken: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Say what is right and what is wrong with a token, and what a client with it gets.",
        discussion: "Exits with 0 when a client passes, with 1 when not.")

    @Argument(help: "The token, or - to read it from standard input, where no list of processes shows it.")
    var token: String

    @Option(name: .shortAndLong, help: "The configuration file.")
    var config: String

    @Option(help: "The route that is asked; without it, the token is judged by each auth of the file.")
    var route: String?

    func run() throws {
        let text = token == "-" ? readLine() ?? "" : token
        let report: TokenReport
        do throws(TokenReport.Failure) {
            report = try TokenReport(token: Array(text.utf8), configurationFile: config, route: route)
        } catch {
            Terminal.tell(error.text)
            throw ExitCode(1)
        }
        print(report.text, terminator: "")
        if !report.isGood { throw ExitCode(1) }
    }
}
