<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use PHPUnit\Framework\TestCase;

/**
 * The examples, as a user starts them. fpm-handler.php is run by fpm/run.py.
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
            'B24_PORTAL' => 'portal.bitrix24.test',
            'B24_ACCESS_TOKEN' => Portal::ACCESS_TOKEN,
            'B24_CA_FILE' => $options['ca_file'],
            'B24_RESOLVE' => implode(',', $options['resolve']),
            'B24_PROXY' => 'none',
        ];
    }

    public function testTheCommandLineProgramTellsWhatBecameOfEachLine(): void
    {
        $portal = Portal::with(['messages' => ['provider1|m1', 'provider1|m2']]);
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

    public function testTheCommandLineProgramSaysWhichOptionIsMissing(): void
    {
        $done = Program::run([self::CLI], ['B24_ACCESS_TOKEN' => ''] + self::environment(Portal::with()));
        self::assertSame(2, $done->exit);
        self::assertStringContainsString('access_token', $done->errors);
    }
}
