<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * The examples, as a user starts them. fpm-handler.php is run by fpm/test_fpm.py.
 */
final class ExamplesTest extends TestCase
{
    private const CLI = __DIR__ . '/../examples/cli.php';

    /**
     * @return array<string, string>
     */
    private static function environment(Portal $portal): array
    {
        $options = $portal->options();
        return [
            'B24_PORTAL' => $portal->host,
            'B24_ACCESS_TOKEN' => $portal->accessToken,
            'B24_CA_FILE' => $options['ca_file'],
            'B24_RESOLVE' => implode(',', $options['resolve']),
            'B24_PROXY' => 'none',
        ];
    }

    public function testTheCommandLineProgramTellsWhatBecameOfEachLine(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|m1', 'provider1|m2']]);
        $done = Program::run(
            [self::CLI],
            self::environment($portal),
            "provider1 m1 sent\nnonsense\nprovider1 m2 delivered\nprovider1 m3 failed\n"
        );
        self::assertSame([1, "2 applied, 2 not\n"], [$done->exit, $done->output], $done->errors);
        self::assertStringContainsString('line 2: INVALID_ARGUMENT', $done->errors);
        self::assertStringContainsString('line 4: MESSAGE_NOT_FOUND', $done->errors);
        self::assertEquals(['provider1|m1' => 'sent', 'provider1|m2' => 'delivered'], $portal->messages());
    }

    public function testTheQueueWorkerTellsWhatBecomesOfEachJob(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|m1', 'provider1|m2']]);
        $portal->fault('status', ['status' => 503, 'headers' => ['Retry-After' => '7']]);
        $done = Program::run(
            [__DIR__ . '/../examples/queue-worker.php'],
            ['B24_MAX_RETRIES' => '0'] + self::environment($portal),
            "provider1 m1 sent\nnonsense\nprovider1 m1 sent\nprovider1 m2 arrived\nprovider1 m3 sent\n"
        );
        $lines = explode("\n", trim($done->output));
        self::assertSame(['m1 again in 7 s', 'dropped: not a job', 'm1 done'], array_slice($lines, 0, 3), $done->errors);
        self::assertStringStartsWith('m2 failed: ', $lines[3]);
        self::assertStringContainsString('arrived', $lines[3]);
        self::assertSame('m3 done', $lines[4]);
        self::assertStringContainsString('provider1 m3: ', $done->errors);
        self::assertSame(['provider1|m1' => 'sent'], $portal->messages());
    }

    /**
     * @return array<string, array{string, mixed, bool}>
     */
    public static function posts(): array
    {
        return [
            'the portal' => ['token', 'token', true],
            'somebody else' => ['token', 'another', false],
            'no token' => ['token', null, false],
            'an array' => ['token', ['token'], false],
            'nothing known' => ['', '', false],
            'nothing known, no token' => ['', null, false],
            'nothing known, an array' => ['', [], false],
        ];
    }

    /**
     * What stands behind the guide's check is reached by the portal alone.
     *
     * @dataProvider posts
     */
    public function testTheGuidesCheckLetsNobodyElsePass(string $known, mixed $given, bool $passes): void
    {
        $guide = (string) file_get_contents(dirname(__DIR__, 3) . '/docs/guide-php.md');
        preg_match_all('/```php\n(.*?)```/s', $guide, $snippets);
        $checks = array_values(array_filter($snippets[1], static fn ($code) => str_contains($code, 'hash_equals')));
        self::assertCount(1, $checks);
        $code = strtr($checks[0], [
            "'from the portal'" => var_export($given, true),
            "'kept from the installation'" => var_export($known, true),
        ]);
        $done = Program::code("$code echo 'passed';");
        self::assertSame(['', $passes ? 'passed' : ''], [$done->errors, $done->output]);
    }

    public function testTheCommandLineProgramSaysWhichOptionIsMissing(): void
    {
        $done = Program::run([self::CLI], ['B24_ACCESS_TOKEN' => ''] + self::environment(Portal::fresh()));
        self::assertSame(2, $done->exit);
        self::assertStringContainsString('access_token', $done->errors);
    }
}
