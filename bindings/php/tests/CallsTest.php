<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Status;
use PHPUnit\Framework\TestCase;

/**
 * Calls to the emulator: errors, batches, tokens, the shared client, forks.
 */
final class CallsTest extends TestCase
{
    /**
     * @return array<string, array{array<string, mixed>, class-string, ?int, string, bool}>
     */
    public static function refusals(): array
    {
        return [
            'unknown message' => [
                ['messages' => []],
                MessageNotFound::class, 400, 'ERROR_MESSAGE_NOT_FOUND', false,
            ],
            'scope' => [
                ['answer' => ['status' => 403, 'error' => 'insufficient_scope', 'description' => 'No.']],
                Exception\AccessDenied::class, 403, 'insufficient_scope', false,
            ],
            'token' => [
                ['access_token' => 'another'],
                Exception\AuthError::class, 401, 'invalid_token', false,
            ],
            'unknown error' => [
                ['answer' => ['status' => 400, 'error' => 'NEW_ERROR', 'description' => 'New.']],
                Exception\PortalError::class, 400, 'NEW_ERROR', false,
            ],
            'proxy' => [
                ['answer' => ['status' => 502, 'error' => '', 'html' => true]],
                Exception\PortalError::class, 502, '', true,
            ],
            'moved' => [
                ['moved' => [
                    'from' => 'portal.bitrix24.test', 'status' => 302, 'location' => 'https://thief.example',
                ]],
                Exception\PortalMoved::class, 302, '', false,
            ],
        ];
    }

    /**
     * @dataProvider refusals
     * @param array<string, mixed> $settings
     * @param class-string $class
     */
    public function testARefusalIsAnExceptionOfItsKindThatTellsAll(
        array $settings,
        string $class,
        ?int $httpStatus,
        string $portalCode,
        bool $retryable
    ): void {
        $client = Portal::with($settings)->client(['max_retries' => 0]);
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it was taken');
        } catch (Exception\MessageServiceException $error) {
            self::assertSame(
                [$class, $httpStatus, $portalCode, $retryable],
                [$error::class, $error->httpStatus(), $error->portalCode(), $error->isRetryable()],
                $error->getMessage()
            );
            self::assertSame(
                $settings['answer']['description'] ?? $error->description(),
                $error->description()
            );
        }
        self::assertEquals($error->kind(), $client->messageStatusUpdateBatch([['provider1', 'm1', 'sent']])[0]?->kind());
    }

    public function testWhatTellsHowLongToWaitTellsSeconds(): void
    {
        $portal = Portal::with();
        $portal->ask('POST', '/fault', [[
            'kind' => 'error', 'status' => 503, 'error' => 'QUERY_LIMIT_EXCEEDED', 'headers' => ['Retry-After' => '7'],
        ]]);
        try {
            $portal->client(['timeout_ms' => 2000])->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it waited');
        } catch (Exception\RateLimited $error) {
            self::assertTrue($error->isRetryable());
            self::assertGreaterThan(5.0, $error->retryAfter());
            self::assertLessThanOrEqual(7.0, $error->retryAfter());
        }
    }

    public function testAnAnswerThatNeverComesIsACallTimeout(): void
    {
        $portal = Portal::with();
        $portal->ask('POST', '/fault', [['kind' => 'hang']]);
        try {
            $portal->client(['timeout_ms' => 200])->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it came');
        } catch (Exception\CallTimeout $error) {
            self::assertSame([true, null], [$error->isRetryable(), $error->httpStatus()]);
        }
    }

    public function testWhatIsNotKnownIsNull(): void
    {
        try {
            Portal::with()->client()->messageStatusUpdate('', 'm1', 'sent');
            self::fail('it was taken');
        } catch (InvalidArgument $error) {
            self::assertSame(
                ['', '', null, false, null],
                [
                    $error->portalCode(),
                    $error->description(),
                    $error->httpStatus(),
                    $error->isRetryable(),
                    $error->retryAfter(),
                ]
            );
        }
    }

    public function testABatchTakesAGeneratorAndSendsFiftyARequest(): void
    {
        $portal = Portal::with();
        $updates = static function (): \Generator {
            for ($number = 1; $number <= 120; ++$number) {
                yield 'any key' => ['provider1', $number, Status::Delivered];
            }
        };
        self::assertSame(array_fill(0, 120, null), $portal->client()->messageStatusUpdateBatch($updates()));
        $seen = $portal->seen();
        self::assertSame([3, 120, []], [$seen['batches'], $seen['commands'], $seen['bad']]);
        self::assertCount(120, $portal->messages());
    }

    public function testUpdatesThatFailedAlikeShareAnException(): void
    {
        $portal = Portal::with(['messages' => ['provider1|known']]);
        $outcomes = $portal->client()->messageStatusUpdateBatch([
            ['provider1', 'one', 'sent'],
            ['provider1', 'two', 'sent'],
            ['provider1', 'known', 'sent'],
            ['provider1', 'three', 'no status'],
            ['provider1', 'four', 'sent'],
        ]);
        self::assertInstanceOf(MessageNotFound::class, $outcomes[0]);
        self::assertSame($outcomes[0], $outcomes[1]);
        self::assertNull($outcomes[2]);
        self::assertInstanceOf(InvalidArgument::class, $outcomes[3]);
        self::assertInstanceOf(MessageNotFound::class, $outcomes[4]);
    }

    public function testAnEmptyBatchSendsNothing(): void
    {
        $portal = Portal::with();
        self::assertSame([], $portal->client()->messageStatusUpdateBatch([]));
        self::assertSame(0, $portal->seen()['requests']);
    }

    public function testEachEntryOfABatchHasItsOwnFate(): void
    {
        $portal = Portal::with(['messages' => ['provider1|m1', 'provider1|m2']]);
        $fates = $portal->client()->messageStatusUpdateBatch([
            ['provider1', 'm1', 'sent'],
            'no entry',
            ['provider1', 'm1'],
            ['provider1', 'm1', 'sent', 'more'],
            ['provider1', null, 'sent'],
            ['provider1', 1.5, 'sent'],
            ['provider1', "m\0", 'sent'],
            ['provider1', 'm9', 'sent'],
            ['code' => 'provider1', 'message_id' => 'm2', 'status' => Status::Failed],
        ]);
        $refused = InvalidArgument::class;
        self::assertSame(
            [null, $refused, $refused, $refused, $refused, $refused, $refused, MessageNotFound::class, null],
            array_map(static fn ($fate) => $fate === null ? null : $fate::class, $fates)
        );
        $rule = 'an update is an array of code, message id and status';
        self::assertSame("$rule, not string", $fates[1]?->getMessage());
        self::assertSame("status is missing: $rule", $fates[2]?->getMessage());
        self::assertSame("4 values are too many: $rule", $fates[3]?->getMessage());
        self::assertEquals(['provider1|m1' => 'sent', 'provider1|m2' => 'failed'], $portal->messages());
        self::assertSame(3, $portal->seen()['commands']);
    }

    public function testAGeneratorThatThrowsSendsNothingAndThrows(): void
    {
        $portal = Portal::with();
        $updates = (static function (): \Generator {
            yield ['provider1', 'm1', 'sent'];
            throw new \DomainException('the database went away');
        })();
        try {
            $portal->client()->messageStatusUpdateBatch($updates);
            self::fail('it was swallowed');
        } catch (\DomainException) {
            self::assertSame(0, $portal->seen()['requests']);
        }
    }

    public function testRenewedTokensAreThere(): void
    {
        $portal = Portal::with(['expired' => true]);
        $options = ['user_agent' => 'renewal'] + $portal->renewable();
        $client = new Client('portal.bitrix24.test', $options);
        $before = $client->tokens();
        self::assertSame(
            [Portal::ACCESS_TOKEN, Portal::REFRESH_TOKEN, '', null],
            [$before->accessToken, $before->refreshToken, $before->memberId, $before->expires]
        );
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        $now = $client->tokens();
        $theirs = $portal->ask('GET', '/tokens');
        self::assertSame(
            [$theirs['access_token'], $theirs['refresh_token'], 'a223c6b3710f85df22e9377d6c4f7553'],
            [$now->accessToken, $now->refreshToken, $now->memberId]
        );
        self::assertSame('https://portal.bitrix24.test/rest/', $now->clientEndpoint);
        self::assertGreaterThan(time(), $now->expires);
        self::assertSame(Portal::ACCESS_TOKEN, $before->accessToken, 'a snapshot stays what it was');

        $client = null;
        $later = new Client('portal.bitrix24.test', $options);
        self::assertEquals($now, $later->tokens(), 'an equal configuration has the same tokens');
    }

    public function testWhoeverComesLaterWithTheOldTokenGetsTheRenewedOneFromStateDir(): void
    {
        $directory = sys_get_temp_dir() . '/b24-php-' . bin2hex(random_bytes(8));
        mkdir($directory, 0700);
        try {
            $portal = Portal::with(['expired' => true]);
            $options = ['state_dir' => $directory] + $portal->renewable();
            $code = '$client = new B24\MessageService\Client("portal.bitrix24.test", '
                . var_export($options, true) . ');'
                . '$client->messageStatusUpdate("provider1", "m1", "sent"); echo $client->tokens()->accessToken;';
            $outputs = [Program::code($code)->output, Program::code($code)->output];
            $seen = $portal->seen();
            self::assertSame([1, 0], [$seen['renewal_requests'], $seen['spent_tokens']]);
            $token = $portal->ask('GET', '/tokens')['access_token'];
            self::assertSame([$token, $token], $outputs);
        } finally {
            array_map(unlink(...), glob("$directory/{*,.[!.]*}", GLOB_BRACE) ?: []);
            rmdir($directory);
        }
    }

    public function testClientsOfAnEqualConfigurationShareOneConnection(): void
    {
        $portal = Portal::with();
        for ($number = 1; $number <= 20; ++$number) {
            $portal->client()->messageStatusUpdate('provider1', $number, 'sent');
        }
        $seen = $portal->seen();
        self::assertSame([20, 1], [$seen['requests'], $seen['connections']]);
    }

    public function testParentAndChildOfAForkEachHaveTheirOwnConnection(): void
    {
        if (!function_exists('pcntl_fork')) {
            self::markTestSkipped('PHP has no pcntl here');
        }
        $portal = Portal::with();
        $code = '$client = new B24\MessageService\Client("portal.bitrix24.test", '
            . var_export($portal->options(), true) . ');'
            . <<<'PHP'
            $client->messageStatusUpdate('provider1', 'before', 'sent');
            $child = pcntl_fork();
            if ($child === 0) {
                $client->messageStatusUpdate('provider1', 'child', 'sent');
                exit(7);
            }
            pcntl_waitpid($child, $status);
            $client->messageStatusUpdate('provider1', 'parent', 'sent');
            echo pcntl_wexitstatus($status);
            PHP;
        $done = Program::code($code);
        self::assertSame([0, '7', ''], [$done->exit, $done->output, $done->errors]);
        [$before, $child, $parent] = array_column($portal->seen()['log'], 'connection');
        self::assertSame($before, $parent, 'the parent keeps its connection');
        self::assertNotSame($before, $child);
        self::assertCount(3, $portal->messages());
    }

    public function testASignalHandlerMayCallTheClientThatIsInACall(): void
    {
        if (!function_exists('pcntl_fork') || !function_exists('posix_kill')) {
            self::markTestSkipped('PHP has no pcntl or no posix here');
        }
        $portal = Portal::with();
        $portal->ask('POST', '/fault', [['kind' => 'hang']]);
        $client = $portal->client(['max_retries' => 0]);
        $inner = null;
        $handler = static function () use ($client, &$inner): void {
            try {
                $client->messageStatusUpdate('no code!', 'm1', 'sent');
            } catch (InvalidArgument $error) {
                $inner = $error;
            }
        };
        $async = pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, $handler);
        $child = pcntl_fork();
        if ($child === 0) {
            $portal->ask('POST', '/wait', ['requests' => 1, 'timeout_ms' => 30000]);
            posix_kill(posix_getppid(), SIGUSR1);
            $portal->ask('POST', '/release');
            // Not by exit: PHPUnit and the emulator are the parent's to end.
            posix_kill(posix_getpid(), SIGKILL);
        }
        $outer = null;
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
        } catch (Exception\MessageServiceException $outer) {
        } finally {
            pcntl_waitpid($child, $status);
            pcntl_signal(SIGUSR1, SIG_DFL);
            pcntl_async_signals($async);
        }
        self::assertStringContainsString('code', (string) $inner?->getMessage());
        self::assertInstanceOf(Exception\TransportError::class, $outer, (string) $outer);
    }
}
