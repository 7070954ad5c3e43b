/// Why a service does not start, in one line. ArgumentParser shows how a program is used beside each `ValidationError`, which is
/// of no help where the words are right and what they name is not.
struct StartFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
