import LinuxIO

/// What is said to whoever started the program.
public enum Terminal {
    /// One message on standard error.
    public static func tell(_ text: String) { Files.write(text.hasSuffix("\n") ? text : text + "\n", to: 2) }
}
