import ArgumentParser
import GatehouseServer

/// Looks after key sets.
struct Jwks: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the key sets of a configuration, or fetch them now.",
        subcommands: [Show.self, Refresh.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the keys that each issuer's file, or cache file, has, and which are usable.",
            discussion: "Exits with 1 when an issuer has a set that the gateway would not take.")

        @Option(name: .shortAndLong, help: "The configuration file.")
        var config: String

        func run() throws { try Jwks.tell(KeyTool.show(config)) }
    }

    struct Refresh: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fetch each key set that has a URL, and write it to its cache file.",
            discussion:
                "A running gateway takes a cache file that has changed within a second or two. Exits with 1 when a set cannot be had; its cache file is left as it was."
        )

        @Option(name: .shortAndLong, help: "The configuration file.")
        var config: String

        func run() throws { try Jwks.tell(KeyTool.refresh(config)) }
    }

    private static func tell(_ report: KeyTool.Report) throws {
        if let errors = report.errors { Terminal.tell(errors) }
        print(report.text, terminator: "")
        if !report.isWell { throw ExitCode(1) }
    }
}
