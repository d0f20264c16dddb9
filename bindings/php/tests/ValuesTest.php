<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Status;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * What goes in: options and arguments, and how what cannot be taken is refused.
 */
final class ValuesTest extends TestCase
{
    /**
     * @return iterable<string, array{class-string, class-string}>
     */
    public static function classes(): iterable
    {
        // Programs catch PHP's own as well.
        $parents = [
            'InvalidArgument' => \InvalidArgumentException::class,
            'InvalidConfig' => \InvalidArgumentException::class,
            'ProtocolError' => \UnexpectedValueException::class,
            'MessageNotFound' => \OutOfBoundsException::class,
            'InternalError' => \LogicException::class,
        ];
        foreach (glob(dirname(__DIR__) . '/src/Exception/*.php') ?: [] as $file) {
            $name = basename($file, '.php');
            if (!in_array($name, ['Details', 'HandlerFailed', 'MessageServiceException'], true)) {
                $class = "B24\\MessageService\\Exception\\$name";
                yield $class => [$class, $parents[$name] ?? \RuntimeException::class];
            }
        }
    }

    /**
     * @dataProvider classes
     * @param class-string $class
     * @param class-string $parent
     */
    public function testEachExceptionIsOfTheInterfaceAndOfAKindThatPhpKnows(
        string $class,
        string $parent
    ): void {
        $error = new $class('m', 'P', 'd', 400, true, 1.5);
        self::assertInstanceOf(MessageServiceException::class, $error);
        self::assertInstanceOf($parent, $error);
        self::assertSame(
            ['m', 'P', 'd', 400, true, 1.5],
            [
                $error->getMessage(),
                $error->portalCode(),
                $error->description(),
                $error->httpStatus(),
                $error->isRetryable(),
                $error->retryAfter(),
            ]
        );
    }

    public function testEveryKindHasItsOwnException(): void
    {
        $kinds = [];
        foreach (self::classes() as [$class]) {
            $kinds[$class] = (new $class())->kind();
        }
        self::assertSame('MESSAGE_NOT_FOUND', $kinds[Exception\MessageNotFound::class]);
        // It comes from this package, not from the library.
        self::assertSame('INTERNAL', $kinds[Exception\LibraryUnavailable::class]);
        unset($kinds[Exception\LibraryUnavailable::class]);
        self::assertSame(array_unique($kinds), $kinds);
    }

    /**
     * @return array<string, array{array<string, mixed>}>
     */
    public static function goodOptions(): array
    {
        $stringable = new class () {
            public function __toString(): string
            {
                return 'standard';
            }
        };
        return [
            'true' => [['allow_http' => true]],
            'false' => [['allow_http' => false]],
            'int' => [['timeout_ms' => 5000]],
            'whole float' => [['timeout_ms' => 5000.0]],
            'digits' => [['timeout_ms' => '5000']],
            'Stringable' => [['rate_limit' => $stringable]],
            'null' => [['state_dir' => null, 'user_agent' => null]],
            'list' => [['redirect_hosts' => ['a.example', 'b.example']]],
            'list of one' => [['redirect_hosts' => ['a.example']]],
        ];
    }

    /**
     * @dataProvider goodOptions
     * @param array<string, mixed> $options
     */
    public function testOptionsMayBeOfTheTypeThatSuitsThem(array $options): void
    {
        $portal = Portal::fresh();
        $portal->client($options)->messageStatusUpdate('provider1', 'm1', 'sent');
        self::assertSame(['provider1|m1' => 'sent'], $portal->messages());
    }

    public function testBooleansArriveAsWhatTheyAre(): void
    {
        new Client('http://127.0.0.1:9', ['access_token' => 't', 'allow_http' => true]);
        $this->expectException(InvalidConfig::class);
        $this->expectExceptionMessage('allow_http');
        new Client('http://127.0.0.1:9', ['access_token' => 't', 'allow_http' => false]);
    }

    /**
     * @return array<string, array{array<mixed>, string}>
     */
    public static function badOptions(): array
    {
        return [
            'unknown name' => [['acces_token' => 'x'], 'acces_token'],
            'name that is a number' => [['x'], '0'],
            'bad value' => [['timeout_ms' => 'soon'], 'timeout_ms'],
            'broken number' => [['timeout_ms' => 2.5], 'timeout_ms'],
            'object' => [['timeout_ms' => new \stdClass()], 'timeout_ms is a stdClass'],
            'object in a list' => [['redirect_hosts' => [new \stdClass()]], 'redirect_hosts'],
            'null in a list' => [['redirect_hosts' => [null]], 'redirect_hosts'],
            'no token' => [['access_token' => null], 'access_token'],
            'half a renewal' => [['refresh_token' => 'r'], 'client_id'],
            'NUL in a value' => [['user_agent' => "a\0b"], 'user_agent'],
            'NUL in a list' => [['redirect_hosts' => ['a.example', "b\0c"]], 'redirect_hosts'],
            'NUL in a name' => [["user_agent\0" => 'a'], 'NUL'],
            'NUL in a secret' => [['access_token' => "a\0b"], 'access_token'],
        ];
    }

    /**
     * @dataProvider badOptions
     * @param array<mixed> $options
     */
    public function testABadOptionIsNamed(array $options, string $named): void
    {
        $this->expectException(InvalidConfig::class);
        $this->expectExceptionMessage($named);
        new Client('portal.bitrix24.test', $options + ['access_token' => 'x']);
    }

    public function testANulInThePortalIsRefused(): void
    {
        $this->expectException(InvalidConfig::class);
        $this->expectExceptionMessage('portal contains a NUL');
        new Client("portal.bitrix24.test\0.example", ['access_token' => 'x']);
    }

    /**
     * @return array<string, array{string, string, string, string}>
     */
    public static function badArguments(): array
    {
        return [
            'NUL in the code' => ["provider1\0", 'm1', 'sent', 'NUL'],
            'NUL in the message id' => ['provider1', "m1\0m2", 'sent', 'NUL'],
            'NUL in the status' => ['provider1', 'm1', "sent\0", 'NUL'],
            'empty code' => ['', 'm1', 'sent', 'code'],
            'message id of 129 characters' => ['provider1', str_repeat('m', 129), 'sent', '128'],
            'unknown status' => ['provider1', 'm1', 'lost', 'delivered'],
            'not UTF-8' => ['provider1', "\xff", 'sent', 'UTF-8'],
        ];
    }

    /**
     * @dataProvider badArguments
     */
    public function testABadArgumentIsRefusedBeforeAnythingIsSent(
        string $code,
        string $messageId,
        string $status,
        string $told
    ): void {
        $portal = Portal::fresh();
        $client = $portal->client();
        try {
            $client->messageStatusUpdate($code, $messageId, $status);
            self::fail('it was taken');
        } catch (InvalidArgument $error) {
            self::assertStringContainsString($told, $error->getMessage());
        }
        $outcomes = $client->messageStatusUpdateBatch([[$code, $messageId, $status]]);
        self::assertInstanceOf(InvalidArgument::class, $outcomes[0]);
        self::assertStringContainsString($told, $outcomes[0]->getMessage());
        self::assertSame(0, $portal->seen()['requests']);
    }

    public function testEveryStatusMayBeGivenAsEnumAndAsTextInAnyCase(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $expected = [];
        foreach (Status::cases() as $status) {
            foreach ([$status, $status->value, strtoupper($status->value), $status->name] as $number => $given) {
                $client->messageStatusUpdate('provider1', "$status->value-$number", $given);
                $expected["provider1|$status->value-$number"] = $status->value;
            }
        }
        self::assertCount(20, $expected);
        self::assertEquals($expected, $portal->messages());
    }

    public function testAMessageIdMayBeAnInt(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $client->messageStatusUpdate('provider1', 42, Status::Sent);
        $client->messageStatusUpdateBatch([['provider1', PHP_INT_MAX, Status::Failed]]);
        self::assertEquals(
            ['provider1|42' => 'sent', 'provider1|' . PHP_INT_MAX => 'failed'],
            $portal->messages()
        );
    }
}
