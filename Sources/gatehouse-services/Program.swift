import ArgumentParser
import Glibc

@main
struct Program {
    static func main() async {
        // The stores hold password hashes and a private key, and SQLite makes files beside them as it goes.
        umask(0o077)
        // A peer that goes away must be an error of that connection, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        do {
            let words = try OptionsFile.expanded(Array(CommandLine.arguments.dropFirst()))
            await GatehouseServices.main(words)
        } catch {
            GatehouseServices.exit(withError: error)
        }
    }
}
