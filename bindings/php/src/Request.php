<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InternalError;
use B24\MessageService\Exception\MessageServiceException;

/**
 * A request of a portal, which was checked to be the portal's. `Provider::receive` makes it.
 *
 * Its fields hold tokens. Dumps and JSON show only the names of the fields, so that tokens do not get into logs. To
 * keep what a message needs, read the fields.
 */
final class Request implements \JsonSerializable
{
    /** The kinds, by their numbers in C. */
    private const KINDS = [
        0 => RequestKind::Message,
        1 => RequestKind::Install,
        2 => RequestKind::Uninstall,
        3 => RequestKind::Frame,
    ];

    /** What the portal wants. */
    public readonly RequestKind $kind;
    /** The portal's permanent id; empty if a frame does not say it. */
    public readonly string $memberId;
    /** The portal's REST address as the request says it; empty if it does not. */
    public readonly string $clientEndpoint;
    /**
     * All fields under the portal's own names, such as `message_id` or `auth[user_id]`, in their order.
     *
     * @var array<string>
     */
    public readonly array $fields;

    /**
     * @internal
     */
    public function __construct(private readonly \FFI $ffi, private readonly \FFI\CData $request)
    {
        try {
            $this->kind = self::kindOf($ffi->b24_request_kind_of($request));
            $this->memberId = $this->get('member_id');
            $this->clientEndpoint = $this->get('client_endpoint');
            $rows = Rows::of(
                $ffi,
                ['name', 'value'],
                static fn ($list, $error): int => $ffi->b24_request_fields($request, $list, $error)
            );
            $this->fields = array_column($rows, 'value', 'name');
        } catch (MessageServiceException $fault) {
            // An object whose constructor fails is not destroyed.
            $ffi->b24_request_free($request);
            throw $fault;
        }
    }

    public function __destruct()
    {
        Signals::held(fn () => $this->ffi->b24_request_free($this->request));
    }

    /**
     * A field under the portal's own name, such as `message_id` or `auth[user_id]`; empty if there is none.
     * `member_id` and `client_endpoint` are found wherever the request has them.
     */
    public function get(string $name): string
    {
        $name = Argument::text('name', $name);
        return Signals::held(fn (): string => $this->ffi->b24_request_get($this->request, $name));
    }

    /**
     * @internal
     */
    public function handle(): \FFI\CData
    {
        return $this->request;
    }

    /**
     * @return array<string, mixed>
     */
    public function __debugInfo(): array
    {
        return [
            'kind' => $this->kind->value,
            'memberId' => $this->memberId,
            'clientEndpoint' => $this->clientEndpoint,
            'fields' => array_keys($this->fields),
        ];
    }

    /**
     * @return array<string, mixed>
     */
    public function jsonSerialize(): array
    {
        return $this->__debugInfo();
    }

    public function __serialize(): array
    {
        throw new \LogicException(self::class . ' holds secrets: store the fields that you need');
    }

    private function __clone()
    {
    }

    private static function kindOf(int $number): RequestKind
    {
        return self::KINDS[$number]
            ?? throw new InternalError("the library knows requests of kind $number, and this package does not");
    }
}
