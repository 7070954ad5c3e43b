import Foundation
import Testing

@testable import WorkerService

@Suite("Schedules, as crontab(5) has them") struct TimetableTests {
    private static func seconds(_ text: String) throws -> Int64 {
        Int64(try Date(text, strategy: .iso8601).timeIntervalSince1970)
    }

    private static func ticks(_ expression: String, _ zone: String, after start: String, count: Int) throws
        -> String
    {
        let timetable = Timetable.cron(
            try CronExpression(expression), try #require(TimeZone(identifier: zone)))
        var time = try seconds(start)
        var found: [String] = []
        for _ in 0..<count {
            time = try #require(timetable.next(after: time, anchor: 0))
            found.append(Date(timeIntervalSince1970: Double(time)).formatted(.iso8601))
        }
        return found.joined(separator: " ")
    }

    /// What croniter (Debian: python3-croniter 1.3.5) answers.
    @Test(
        "Another implementation finds the same ticks",
        arguments: [
            (
                "*/15 * * * *", "UTC", "2026-01-31T23:50:00Z",
                "2026-02-01T00:00:00Z 2026-02-01T00:15:00Z 2026-02-01T00:30:00Z"
            ),
            (
                "0 9 * * 1-5", "Europe/Berlin", "2026-07-03T09:00:00Z",
                "2026-07-06T07:00:00Z 2026-07-07T07:00:00Z 2026-07-08T07:00:00Z"
            ),
            (
                "30 4 1,15 * 5", "UTC", "2026-11-02T00:00:00Z",
                "2026-11-06T04:30:00Z 2026-11-13T04:30:00Z 2026-11-15T04:30:00Z"
            ),
            (
                "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z",
                "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z 2036-02-29T00:00:00Z"
            ),
            (
                "5/20 8-10 * feb-apr sun", "America/New_York", "2026-01-01T00:00:00Z",
                "2026-02-01T13:05:00Z 2026-02-01T13:25:00Z 2026-02-01T13:45:00Z"
            ),
            (
                "0 12 * * 7", "Asia/Kolkata", "2026-05-05T05:05:05Z",
                "2026-05-10T06:30:00Z 2026-05-17T06:30:00Z 2026-05-24T06:30:00Z"
            ),
            (
                "59 23 31 * *", "UTC", "2026-02-10T00:00:00Z",
                "2026-03-31T23:59:00Z 2026-05-31T23:59:00Z 2026-07-31T23:59:00Z"
            ),
            (
                "0 22 * * 1-5", "UTC", "2026-06-05T22:00:01Z",
                "2026-06-08T22:00:00Z 2026-06-09T22:00:00Z 2026-06-10T22:00:00Z"
            ),
            (
                "23 0-20/2 * * *", "UTC", "2026-06-05T20:23:00Z",
                "2026-06-06T00:23:00Z 2026-06-06T02:23:00Z 2026-06-06T04:23:00Z"
            ),
            (
                "0 4 8-14 * *", "Asia/Tokyo", "2026-06-05T20:23:00Z",
                "2026-06-07T19:00:00Z 2026-06-08T19:00:00Z 2026-06-09T19:00:00Z"
            ),
            (
                "10,20,30-32 1 * jan,DEC *", "UTC", "2026-12-31T01:30:30Z",
                "2026-12-31T01:31:00Z 2026-12-31T01:32:00Z 2027-01-01T01:10:00Z"
            ),
            (
                "0 5 * * Mon-Fri", "Pacific/Auckland", "2026-05-01T00:00:00Z",
                "2026-05-03T17:00:00Z 2026-05-04T17:00:00Z 2026-05-05T17:00:00Z"
            ),
            (
                "@weekly", "Europe/Berlin", "2026-06-01T00:00:00Z",
                "2026-06-06T22:00:00Z 2026-06-13T22:00:00Z 2026-06-20T22:00:00Z"
            ),
            (
                "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z",
                "2104-02-29T00:00:00Z 2108-02-29T00:00:00Z 2112-02-29T00:00:00Z"
            ),
            (
                "0 0 * * sat,sun", "UTC", "2027-12-31T23:59:59Z",
                "2028-01-01T00:00:00Z 2028-01-02T00:00:00Z 2028-01-08T00:00:00Z"
            ),
        ])
    func croniter(expression: String, zone: String, start: String, expected: String) throws {
        #expect(try Self.ticks(expression, zone, after: start, count: 3) == expected)
    }

    /// Reckoned by hand: in Berlin, 02:00 to 03:00 does not happen on 29 March 2026, and happens twice on 25 October.
    @Test(
        "A time that the clock skips is due right after, one that it shows twice is due once; minutes go on as they pass",
        arguments: [
            (
                "30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
                "2026-03-28T01:30:00Z 2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"
            ),
            (
                "0,15,30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
                "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z 2026-03-30T00:15:00Z"
            ),
            (
                "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z 2026-10-27T01:30:00Z"
            ),
            (
                "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z 2026-10-27T01:30:00Z 2026-10-28T01:30:00Z"
            ),
            (
                "30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z",
                "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-25T02:30:00Z"
            ),
            (
                "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z",
                "2026-03-29T00:30:00Z 2026-03-29T01:00:00Z 2026-03-29T01:30:00Z"
            ),
            // Half an hour only: 02:00 to 02:30 is skipped on Lord Howe on 4 October 2026.
            (
                "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z",
                "2026-10-03T15:30:00Z 2026-10-04T15:15:00Z 2026-10-05T15:15:00Z"
            ),
            // The whole of 30 December 2011 is skipped on Samoa.
            (
                "0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z",
                "2011-12-30T10:00:00Z 2012-12-29T22:00:00Z 2013-12-29T22:00:00Z"
            ),
        ])
    func clockChange(expression: String, zone: String, start: String, expected: String) throws {
        #expect(try Self.ticks(expression, zone, after: start, count: 3) == expected)
    }

    @Test("An asterisk with a step is no choice of days: both fields must fit then") func steps() throws {
        #expect(
            try Self.ticks("0 0 */2 * mon", "UTC", after: "2026-03-01T00:00:00Z", count: 2)
                == "2026-03-09T00:00:00Z 2026-03-23T00:00:00Z")
    }

    @Test(
        "What is not an expression is refused",
        arguments: [
            "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
            "* * * * 8", "*/0 * * * *", "5-3 * * * *", "1,,2 * * * *", "a * * * *", "* * * mon *",
            "-1 * * * *",
            "1- * * * *", "* * 30 feb *", "* * 31 4,6,9,11 *", "@never", "1/2/3 * * * *", "+1 * * * *",
            "٣ * * * *", String(repeating: "1,", count: 200) + "1 * * * *",
        ])
    func refused(text: String) {
        #expect(throws: CronExpression.Refusal.self) { try CronExpression(text) }
    }

    @Test("An interval goes on from when the schedule was made, whenever it is asked") func interval() {
        let timetable = Timetable.interval(seconds: 60)
        #expect(timetable.next(after: 0, anchor: 1_000) == 1_060)
        #expect(timetable.next(after: 1_000, anchor: 1_000) == 1_060)
        #expect(timetable.next(after: 1_059, anchor: 1_000) == 1_060)
        #expect(timetable.next(after: 1_060, anchor: 1_000) == 1_120)
        #expect(timetable.next(after: 99_999, anchor: 1_000) == 100_000)
    }

    @Test("Dates and days are the same by Foundation's calendar") func civil() throws {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
        for step in 0..<2_000 {
            let seconds = Int64(-1_000_000_000) + Int64(step) * 3_333_337
            let time = CivilTime(epochSeconds: seconds)
            let parts = calendar.dateComponents(
                [.year, .month, .day, .hour, .minute, .second, .weekday],
                from: Date(timeIntervalSince1970: Double(seconds)))
            #expect(
                [time.year, time.month, time.day, time.hour, time.minute, time.second, time.weekday + 1]
                    == [
                        parts.year, parts.month, parts.day, parts.hour, parts.minute, parts.second,
                        parts.weekday,
                    ])
        }
    }
}
