<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;

/**
 * Arguments as C takes them.
 *
 * @internal
 */
final class Argument
{
    /**
     * @throws InvalidArgument if it contains a NUL
     */
    public static function text(string $name, string|int|Status $value): string
    {
        $text = $value instanceof Status ? $value->value : (string) $value;
        self::refuseNul($name, $text);
        return $text;
    }

    /**
     * As text(), for a secret, which traces do not show then.
     *
     * @throws InvalidArgument if it contains a NUL
     */
    public static function secret(string $name, #[\SensitiveParameter] string $value): string
    {
        self::refuseNul($name, $value);
        return $value;
    }

    /**
     * Seconds as milliseconds.
     *
     * @throws InvalidArgument if it is negative or too large
     */
    public static function milliseconds(float $seconds): int
    {
        $milliseconds = round($seconds * 1000);
        if (!($milliseconds >= 0 && $milliseconds < PHP_INT_MAX)) {
            throw new InvalidArgument('seconds must be a number of seconds, 0 or more');
        }
        return (int) $milliseconds;
    }

    /**
     * A timeout as milliseconds, of which there must be one.
     *
     * @throws InvalidArgument if it is shorter or too large
     */
    public static function timeout(float $seconds): int
    {
        $milliseconds = self::milliseconds($seconds);
        if ($milliseconds === 0) {
            // C takes 0 for the timeout of the options.
            throw new InvalidArgument('seconds must be a timeout of 0.001 or more');
        }
        return $milliseconds;
    }

    /**
     * A time in Unix milliseconds; 0, which stands for now, for null.
     *
     * @throws InvalidArgument if it is out of C's range
     */
    public static function moment(?\DateTimeInterface $at): int
    {
        if ($at === null) {
            return 0;
        }
        $milliseconds = $at->getTimestamp() * 1000 + (int) $at->format('v');
        if (!is_int($milliseconds)) {
            throw new InvalidArgument('at is too far away: ' . $at->format('Y'));
        }
        // The first moment of 1970 is 0 as well, and is not now.
        return $milliseconds === 0 ? 1 : $milliseconds;
    }

    private static function refuseNul(string $name, #[\SensitiveParameter] string $text): void
    {
        if (str_contains($text, "\0")) {
            throw new InvalidArgument("$name contains a NUL, at which C would cut it off");
        }
    }
}
